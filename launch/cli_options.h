// SPDX-License-Identifier: Apache-2.0
// A command's options (launch/command.h) on CLI11, which no command sees.
#pragma once

#include <string>
#include <vector>

#include "launch/command.h"

namespace CLI {
class App;
class Option;
}  // namespace CLI

namespace orthant {

// Declares each field as an option: "top_k" as --top-k.
void fields_as_options(Options& options, const FieldList& list);

class CliOptions : public Options {
 public:
  explicit CliOptions(CLI::App& app) : app_(app) {}

  void flag(const std::string& names, bool& value, const std::string& help, bool sets) override;
  void integer(const std::string& names, int64_t& value, IntBounds bounds,
               const std::string& help) override;
  void real(const std::string& names, double& value, RealBounds bounds,
            const std::string& help) override;
  void text(const std::string& names, std::string& value, TextRule rule,
            const std::string& help) override;
  void texts(const std::string& names, std::vector<std::string>& values, TextRule rule,
             const std::string& help) override;
  void texts(const std::string& names, std::vector<std::string>& values, Each each,
             const std::string& help) override;
  void reals(const std::string& names, std::vector<double>& values, RealBounds bounds,
             const std::string& help) override;
  void fields(const FieldList& list) override;
  void require(const std::string& name) override;
  void needs(const std::string& name, const std::string& other) override;
  void excludes(const std::string& name, const std::string& other) override;

 private:
  CLI::App& app_;
};

}  // namespace orthant
