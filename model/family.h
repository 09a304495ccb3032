// SPDX-License-Identifier: Apache-2.0
// Published model families, by the model_type and architectures of their config.json: these alone
// say some of what a model computes (Qwen2's biases, Qwen3's norms of queries and keys, Mixtral's
// renormalised scores), so a family that is not built is refused, whatever its other keys say.
#pragma once

#include <string>
#include <vector>

namespace orthant {

// No family's rules: the keys are all there is.
inline constexpr const char* kCustomFamily = "custom";

// What a family computes and no key of its config.json says.
struct FamilyRules {
  bool has_latent = false, has_experts = false;
  bool has_bias = false;       // of queries, keys and values
  bool may_have_bias = false;  // where attention_bias says so: of these three alone
  bool norms_heads = false, norms_all_heads = false;  // of queries and keys
  bool is_sigmoid = false;         // scores of the experts, with a bias for the choice
  bool normalizes = false;         // the chosen scores
  bool uses_intermediate = false;  // experts have intermediate_size
};
// Of one of built_families().
const FamilyRules& rules_of(const std::string& model_type);

std::vector<std::string> built_families();       // values of model_type, kCustomFamily first
std::vector<std::string> built_architectures();  // "LlamaForCausalLM"
// What a family has that is not built, and what to do; of a model_type or an architecture.
std::string why_not_built(const std::string& name);
// "llama" of "LlamaForCausalLM", one of built_architectures(): the first family that has it.
std::string family_of(const std::string& architecture);
bool is_of_family(const std::string& architecture, const std::string& model_type);

}  // namespace orthant
