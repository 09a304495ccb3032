// SPDX-License-Identifier: Apache-2.0
// What gzip makes of a text: the yardstick that a language model should beat.
#pragma once

#include <cstdint>
#include <string_view>

#include "data/corpus.h"
#include "data/tokenizer.h"

namespace orthant {

// Size in bytes of `gzip -9` of the text (zlib's deflate at level 9, gzip framing).
int64_t gzip_size(std::string_view text);

// Compressed bits per byte of the text of the first `max_tokens` tokens of a split (0: all),
// documents joined without a separator.  Needs a tokenizer that gives the text back; reads in
// pieces, so memory stays bounded.  Error(kData) when there is no text.
double gzip_bits_per_byte(Corpus& corpus, const Tokenizer& tokenizer, int64_t max_tokens = 0);

}  // namespace orthant
