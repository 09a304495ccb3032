// SPDX-License-Identifier: Apache-2.0
// The small tokenizers of tests/golden/tokenizers.
#pragma once

#include <memory>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "data/byte_reader.h"
#include "data/tokenizer_json.h"
#include "tests/data/files.h"

namespace orthant {

inline const std::vector<std::string> kGoldenTokenizers = {
    "deepseek_v3", "llama3", "qwen3", "gpt2", "smollm2", "llama2", "metaspace", "odd"};

inline std::string golden_path(const std::string& name) {
  return std::string(ORTHANT_SOURCE_DIR) + "/tests/golden/tokenizers/" + name;
}

inline std::unique_ptr<SequenceTokenizer> golden_tokenizer(const std::string& name) {
  return load_tokenizer_json(golden_path(name + ".json"));
}

inline const nlohmann::json& golden_texts() {
  static const nlohmann::json golden = [] {
    ByteReader reader(golden_path("golden.json.gz"));
    std::string all, buffer(size_t{1} << 16, '\0');
    while (const size_t n = reader.read(buffer.data(), buffer.size())) all += buffer.substr(0, n);
    return nlohmann::json::parse(all);
  }();
  return golden;
}

}  // namespace orthant
