// SPDX-License-Identifier: Apache-2.0
// A published model under a path: a folder as transformers saves it, or a GGUF file, of which the
// same files are made.  What reads one need not know which.
#pragma once

#include <map>
#include <memory>
#include <string>

#include "checkpoint/tensor_source.h"
#include "data/tokenizer.h"

namespace orthant {

// Files that go with the weights, in a run directory and out of it again.
inline constexpr const char* kHubFiles[] = {
    "config.json",           "generation_config.json",  "tokenizer.json", "tokenizer.model",
    "tokenizer_config.json", "special_tokens_map.json", "vocab.json",     "merges.txt",
    "added_tokens.json",     "chat_template.jinja"};

struct PublishedModel {
  std::string path;          // that was given
  std::string name;          // "Mixtral-8x7B-v0.1"
  std::string described_by;  // "config.json", in messages
  bool is_gguf = false;
  std::map<std::string, std::string> files;  // of kHubFiles, those that are there: their content
  std::unique_ptr<TensorSource> tensors;

  std::string label_of(const std::string& file) const;  // of a file, in messages
  std::unique_ptr<Tokenizer> tokenizer() const;
};
// A file is a GGUF file, and so is the one that a folder has in place of other weights.
// Error(kMissingInput): no config.json, no weights; Error(kData): what is malformed.
PublishedModel open_published(const std::string& path);

// What to say of a path that holds no run: that it is a published model, or that its import was
// interrupted, and what to do; "" where it is neither.
std::string import_hint(const std::string& path);

// What tells the model under a path, as it is now, from others: the path, and the names, sizes and
// times of its files.
std::string identity_of(const std::string& path);

}  // namespace orthant
