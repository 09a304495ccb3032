// SPDX-License-Identifier: Apache-2.0
// What a tokenizer.json puts around a sequence of ids: "post_processor".
//
// TemplateProcessing (its "single"), ByteLevel, which changes no ids, and Sequence; anything else
// is refused by name.
#pragma once

#include <cstdint>
#include <vector>

#include "data/bpe/json_place.h"

namespace orthant {

struct SequenceFrame {
  std::vector<int32_t> before, behind;
};

SequenceFrame parse_post_processor(const JsonPlace& place);  // null: nothing is put there

}  // namespace orthant
