// SPDX-License-Identifier: Apache-2.0
// Where the files of a tokenizer are.
#pragma once

#include <memory>
#include <string>

#include "data/tokenizer_json.h"

namespace orthant {

// The first that the folder has of tokenizer.json, tokenizer.model, and vocab.json with merges.txt.
// Error(kMissingInput) where it has none; errors as the file's loader.
std::unique_ptr<Tokenizer> load_tokenizer_folder(const std::string& folder);

// GPT-2's two files, as a tokenizer.json that is made of them: that one is its model file.
std::unique_ptr<SequenceTokenizer> load_gpt2_tokenizer(const std::string& vocab_path,
                                                       const std::string& merges_path);

}  // namespace orthant
