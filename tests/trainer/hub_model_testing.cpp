// SPDX-License-Identifier: Apache-2.0
#include "tests/trainer/hub_model_testing.h"

#include <filesystem>
#include <fstream>

#include "checkpoint/safetensors.h"

namespace orthant::testing {

nlohmann::json golden_model(const std::string& name) {
  std::ifstream file(ORTHANT_SOURCE_DIR "/tests/golden/hub_models/" + name + ".json");
  return nlohmann::json::parse(file);
}

std::vector<double> golden_weights(const std::string& name, int64_t count) {
  uint64_t seed = 14695981039346656037U;
  for (const char c : name) seed = (seed ^ static_cast<unsigned char>(c)) * 1099511628211U;
  const auto has = [&](const char* part) { return name.find(part) != std::string::npos; };
  const bool is_norm = has("norm"), is_bias = has("e_score_correction_bias");
  const bool is_router = has("mlp.gate") || has("block_sparse_moe.gate");
  const double scale = has("lora_") ? 0.25 : is_norm ? 0.5 : is_bias ? 0.2 : is_router ? 3.0 : 0.5;
  std::vector<double> values;
  for (int64_t i = 0; i < count; ++i) {
    uint64_t x = static_cast<uint64_t>(i) * 0x9E3779B97F4A7C15U + seed;
    x ^= x >> 32;
    x *= 0xD6E8FEB86659FD93U;
    x ^= x >> 32;
    const double uniform = static_cast<double>(x >> 40) / 0x1p24 - 0.5;
    values.push_back((is_norm ? 1.0 : 0.0) + scale * uniform);
  }
  return values;
}

void write_golden_folder(const nlohmann::json& golden, const std::string& folder) {
  std::filesystem::create_directories(folder);
  std::ofstream(folder + "/config.json") << golden["config"].dump(2);
  std::vector<std::pair<std::string, Tensor>> tensors;
  for (const auto& [name, dims] : golden["shapes"].items()) {
    Shape shape;
    for (const auto& dim : dims) shape.push_back(dim.get<int64_t>());
    tensors.emplace_back(name,
                         Tensor::from(shape, golden_weights(name, shape.numel()), DType::kF64));
  }
  write_safetensors(folder + "/model.safetensors", tensors, {{"format", "pt"}});
  std::filesystem::copy_file(ORTHANT_SOURCE_DIR "/tests/data/stories260k/tokenizer.model",
                             folder + "/tokenizer.model");
}

}  // namespace orthant::testing
