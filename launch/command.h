// SPDX-License-Identifier: Apache-2.0
// A command of the program: its name, options, help, examples and work stand in one file,
// launch/command_NAME.cpp, and its name once more in the list of launch/command_list.cpp.
//
//   Command greet_command() {
//     return {.name = "greet", .help = "say hello", .footer = "orthant greet Ada --times 3",
//             .declare = [](Options& options) {
//               const auto greeting = std::make_shared<Greeting>();
//               options.text("name", greeting->name, required_text(), "whom to greet");
//               options.integer("--times", greeting->times, at_least(1), "how often");
//               return [greeting] { return greet(*greeting); };
//             }};
//   }
#pragma once

#include <cstdint>
#include <functional>
#include <string>
#include <vector>

#include "base/config/config.h"

namespace orthant {

// Declares options, each bound to a variable that holds its default and outlives the parsing.
// `names`: "-o,--output"; without a dash it is a positional argument.  Values are as strict as in a
// configuration (base/config/fields.h).
class Options {
 public:
  virtual ~Options() = default;
  virtual void flag(const std::string& names, bool& value, const std::string& help,
                    bool sets = true) = 0;
  virtual void integer(const std::string& names, int64_t& value, IntBounds bounds,
                       const std::string& help) = 0;
  virtual void real(const std::string& names, double& value, RealBounds bounds,
                    const std::string& help) = 0;
  virtual void text(const std::string& names, std::string& value, TextRule rule,
                    const std::string& help) = 0;
  // Several values, one after another.
  virtual void texts(const std::string& names, std::vector<std::string>& values, TextRule rule,
                     const std::string& help) = 0;
  // One value each time that the option is given, or several with a comma between them.
  enum class Each { kOnce, kCommas };
  virtual void texts(const std::string& names, std::vector<std::string>& values, Each each,
                     const std::string& help) = 0;
  virtual void reals(const std::string& names, std::vector<double>& values, RealBounds bounds,
                     const std::string& help) = 0;  // with commas between them
  // Numbers and texts of a configuration's field list: "top_k" is --top-k.
  virtual void fields(const FieldList& list) = 0;
  virtual void require(const std::string& name) = 0;
  virtual void needs(const std::string& name, const std::string& other) = 0;
  virtual void excludes(const std::string& name, const std::string& other) = 0;
};

struct Command {
  std::string name;    // "pretrain", or "inspect corpus", which is one of a group
  std::string help;    // one line
  std::string footer;  // below the options: examples, exit codes
  // Returns what is called when the command was chosen: the exit code, or an Error.
  std::function<std::function<int()>(Options&)> declare;
};

// Of --adapter.
inline constexpr const char* kAdapterHelp =
    "adapters to stand beside the model: a folder as PEFT saves one, or a run directory that "
    "trained some";

// All of them, in the order of --help (launch/command_list.cpp).
std::vector<Command> all_commands();

}  // namespace orthant
