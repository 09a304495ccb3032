// SPDX-License-Identifier: Apache-2.0
// A GGUF file as the files of a model's folder: config.json, generation_config.json, tokenizer.json
// and tokenizer_config.json are made of its metadata, tensors have the names, shapes and row order
// that published folders have.
//
// Source: the keys of docs/gguf.md (github.com/ggml-org/ggml) and of PyPI's `gguf` 0.19.
#pragma once

#include <map>
#include <memory>
#include <optional>
#include <string>

#include "checkpoint/gguf.h"
#include "checkpoint/tensor_source.h"

namespace orthant {

struct GgufModel {
  std::map<std::string, std::string> files;
  std::unique_ptr<TensorSource> tensors;
};
// Error(kMissingInput), Error(kData) for what is malformed, Error(kConfig) for what is not built:
// by file and key or tensor.
GgufModel open_gguf_model(const std::string& path);

// What follows from "general.architecture".
struct GgufArchitecture {
  const char* name;                // there
  const char* model_type;          // here, dense
  const char* moe_type = nullptr;  // with experts
  bool pairs_rows = false;         // rows of queries and keys are rotary pairs side by side
};
const GgufArchitecture& gguf_architecture(const GgufReader& file);

// config.json and generation_config.json.
std::string gguf_config(const GgufReader& file);
std::string gguf_generation_config(const GgufReader& file);
// tokenizer.json and tokenizer_config.json.
std::string gguf_tokenizer(const GgufReader& file);
std::string gguf_tokenizer_config(const GgufReader& file);
// The tensors, dequantised, by the names of folders.
std::unique_ptr<TensorSource> gguf_tensors(std::unique_ptr<const GgufReader> file);

// Rows of a head of queries or keys.
int64_t gguf_head_dim(const GgufReader& file);
// Rows of the embedding.
int64_t gguf_vocabulary(const GgufReader& file);
// tokenizer.ggml.NAME_token_id ("bos"), where it is one: an id of the vocabulary.
std::optional<int64_t> gguf_token_id(const GgufReader& file, const std::string& name);
// What each rotary frequency is divided by, in models with Llama 3's scaling.
inline constexpr const char* kGgufRopeFactors = "rope_freqs.weight";

}  // namespace orthant
