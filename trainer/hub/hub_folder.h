// SPDX-License-Identifier: Apache-2.0
// What a published model's files say beside its configuration.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "trainer/hub/published_model.h"

namespace orthant {

// In a manifest's `extra`: the folder that its weights are of, bit by bit.
inline constexpr const char* kImportedKey = "imported_from";
// Likewise: what tells that folder, as it was, from others (source_of in trainer/hub/import.h).
inline constexpr const char* kSourceKey = "imported_source";

// Whether the model's texts begin with its bos token: as tokenizer_config.json says, or
// tokenizer.json, or as SentencePiece models of transformers do.
bool begins_with_bos(const PublishedModel& model, const Tokenizer& tokenizer);
// The ids that end what the model writes: eos_token_id of generation_config.json, or else of
// config.json, one or several; none without them.  Error(kData) for what is no id below vocab.
std::vector<int32_t> end_ids_of(const std::string& folder, int64_t vocab);

}  // namespace orthant
