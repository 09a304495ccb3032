// SPDX-License-Identifier: Apache-2.0
// Tiny models of published families as folders, out of tests/golden/hub_models: names and shapes
// are in a golden file, weights are a function of the name.
#pragma once

#include <nlohmann/json.hpp>
#include <string>
#include <vector>

namespace orthant::testing {

// The golden file of a model.
nlohmann::json golden_model(const std::string& name);
inline const std::vector<std::string> kGoldenModels = {
    "llama",       "llama3_rope_tied", "llama_yarn", "mistral", "mixtral",   "deepseek_v2_lite",
    "deepseek_v2", "deepseek_v3",      "qwen2",      "qwen3",   "qwen3_moe", "olmoe",
    "glm4_moe",    "glm4_moe_lite",    "minimax_m2"};

// As make.py makes them.
std::vector<double> golden_weights(const std::string& name, int64_t count);

// Writes config.json and model.safetensors (f64) into an empty folder, and a tokenizer.
void write_golden_folder(const nlohmann::json& golden, const std::string& folder);

}  // namespace orthant::testing
