// SPDX-License-Identifier: Apache-2.0
// adapter_config.json of a PEFT folder, in and out.
#pragma once

#include <map>
#include <memory>
#include <string>
#include <utility>
#include <vector>

namespace orthant {

inline constexpr const char* kPeftConfigFile = "adapter_config.json";
inline constexpr const char* kPeftWeightsFile = "adapter_model.safetensors";
// Beside them, ours: what PEFT keeps no word of.
inline constexpr const char* kBaseNoteFile = "orthant_adapter.json";

// What of it says how an adapter is computed.
struct PeftConfig {
  std::string base_name;
  int64_t rank = 8;
  double alpha = 8, dropout = 0;
  bool use_rslora = false, use_dora = false;
  // Of modules that are named like that, "(.*\.)?(PATTERN)": the first that matches holds.
  std::vector<std::pair<std::string, int64_t>> ranks;
  std::vector<std::pair<std::string, double>> alphas;
  std::vector<std::string> target_modules, target_parameters, modules_to_save;
};

// The rank and the scale of a module's adapter.
struct PeftScale {
  int64_t rank = 0;
  double scale = 1.0;
};

// A configuration that was read, and its patterns, compiled.
class PeftRules {
 public:
  // text: of the file; label: its name in messages.  Error(kData) naming the key: malformed, or of
  // a kind whose computation is not W + s B A, such as "use_qalora".
  PeftRules(const std::string& text, const std::string& label);
  ~PeftRules();
  PeftRules(const PeftRules&) = delete;
  PeftRules& operator=(const PeftRules&) = delete;

  const PeftConfig& config() const { return config_; }
  // Of a module or a parameter, as the folder calls it.
  PeftScale of(const std::string& name) const;
  // Of a module that is targeted itself, or by its weight as a parameter.
  PeftScale of_weight(const std::string& module) const;

 private:
  struct Patterns;
  PeftConfig config_;
  std::unique_ptr<Patterns> patterns_;
};

std::string peft_config_text(const PeftConfig& config);

// What of the base is noted beside the adapter.
struct BaseNote {
  std::string name, fingerprint;
};
std::string base_note_text(const BaseNote& note);
BaseNote parse_base_note(const std::string& text, const std::string& label);

}  // namespace orthant
