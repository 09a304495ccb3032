// SPDX-License-Identifier: Apache-2.0
// The text of tokens that come one by one, in whole UTF-8 characters.
#pragma once

#include <string>
#include <utility>

#include "base/text.h"
#include "data/tokenizer.h"

namespace orthant {

class TextStream {
 public:
  // The tokens go on with a document.
  explicit TextStream(const Tokenizer& tokenizer) : tokenizer_(tokenizer) {}

  // The text that this token completes; a character that lacks bytes is held back.
  std::string add(int32_t token) {
    held_ += tokenizer_.token_text(token);
    std::string whole = held_.substr(0, whole_characters(held_));
    held_.erase(0, whole.size());
    return whole;
  }
  // What is still held back: the beginning of a character that did not come.
  std::string finish() { return std::exchange(held_, {}); }

 private:
  const Tokenizer& tokenizer_;
  std::string held_;
};

}  // namespace orthant
