// SPDX-License-Identifier: Apache-2.0
// Folders of tiny published models, made for tests of import and export.
#pragma once

#include <filesystem>
#include <fstream>

#include "checkpoint/safetensors_folder.h"
#include "tests/data/files.h"
#include "tests/trainer/hub_model_testing.h"

namespace orthant::testing {

using Json = nlohmann::json;
using Named = std::vector<std::pair<std::string, Tensor>>;

inline constexpr const char* kStories = ORTHANT_SOURCE_DIR "/tests/data/stories260k";

inline std::string run() { return test_folder() + "/run"; }
inline std::string out() { return test_folder() + "/out"; }

// A folder of a tiny Llama (or another), whose parts a case may spoil before they are written.
struct Folder {
  explicit Folder(const std::string& model = "llama") {
    const Json golden = golden_model(model);
    config = golden["config"];
    for (const auto& [name, dims] : golden["shapes"].items()) {
      const Shape shape = [&dims = dims] {
        Shape result;
        for (const auto& dim : dims) result.push_back(dim.get<int64_t>());
        return result;
      }();
      tensors.emplace_back(name,
                           Tensor::from(shape, golden_weights(name, shape.numel()), DType::kF32));
    }
  }
  Tensor& operator[](const std::string& name) {
    for (auto& [known, tensor] : tensors)
      if (known == name) return tensor;
    return tensors.emplace_back(name, Tensor()).second;
  }
  Tensor take(const std::string& name) {
    const Tensor tensor = (*this)[name];
    std::erase_if(tensors, [&](const auto& entry) { return entry.first == name; });
    return tensor;
  }
  std::string write() const {
    const std::string path = test_folder() + "/model";
    std::filesystem::remove_all(path);
    std::filesystem::create_directories(path);
    std::ofstream(path + "/config.json") << config.dump(2);
    write_safetensors(path + "/model.safetensors", tensors, {{"format", "pt"}});
    std::filesystem::copy_file(std::string(kStories) + "/tokenizer.model",
                               path + "/tokenizer.model");
    return path;
  }

  Json config;
  Named tensors;
};

}  // namespace orthant::testing
