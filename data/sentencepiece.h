// SPDX-License-Identifier: Apache-2.0
// SentencePiece models (unigram and BPE) as tokenizers, through the library.
//
// The ids are the library's.  Text comes back to the byte when the model neither normalises nor
// drops spaces and has byte pieces (byte fallback), as `tokenizer train` makes them: bytes that are
// no UTF-8, and U+2581, which the library uses for a space, become byte pieces.
#pragma once

#include <memory>
#include <string>

#include "data/tokenizer.h"

namespace orthant {

// Error(kMissingInput) when there is no such file; Error(kData) when it is no SentencePiece model,
// or one without an end-of-sentence id, or one that rewrites the text it decodes.
std::unique_ptr<Tokenizer> load_sentencepiece(const std::string& path);
// The same from the file's content; `label` stands for it in messages.
std::unique_ptr<Tokenizer> parse_sentencepiece(std::string file, const std::string& label);

}  // namespace orthant
