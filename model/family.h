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

std::vector<std::string> built_families();       // values of model_type, kCustomFamily first
std::vector<std::string> built_architectures();  // "LlamaForCausalLM"
// What a family has that is not built, and what to do; of a model_type or an architecture.
std::string why_not_built(const std::string& name);
// "llama" of "LlamaForCausalLM", one of built_architectures(): the first family that has it.
std::string family_of(const std::string& architecture);
bool is_of_family(const std::string& architecture, const std::string& model_type);

}  // namespace orthant
