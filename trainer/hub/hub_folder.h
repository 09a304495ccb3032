// SPDX-License-Identifier: Apache-2.0
// What is in a published model's folder beside its weights.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "data/tokenizer.h"

namespace orthant {

// Files that go with the weights, in a run directory and out of it again.
inline constexpr const char* kHubFiles[] = {
    "config.json",           "generation_config.json",  "tokenizer.json", "tokenizer.model",
    "tokenizer_config.json", "special_tokens_map.json", "vocab.json",     "merges.txt",
    "added_tokens.json",     "chat_template.jinja"};

// In a manifest's `extra`: the folder that its weights are of, bit by bit.
inline constexpr const char* kImportedKey = "imported_from";

// Whether the model's texts begin with its bos token: as tokenizer_config.json says, or
// tokenizer.json, or as SentencePiece models of transformers do.
bool begins_with_bos(const std::string& folder, const Tokenizer& tokenizer);
// The ids that end what the model writes: eos_token_id of generation_config.json, or else of
// config.json, one or several; none without them.  Error(kData) for what is no id below vocab.
std::vector<int32_t> end_ids_of(const std::string& folder, int64_t vocab);

}  // namespace orthant
