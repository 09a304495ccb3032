// SPDX-License-Identifier: Apache-2.0
#include "trainer/prompt_notes.h"

#include <algorithm>

#include "base/log.h"
#include "trainer/run/progress.h"

namespace orthant {
namespace {

constexpr int64_t kMostNamed = 5;

}  // namespace

std::vector<int32_t> PromptNotes::encode(const std::string& text, bool special,
                                         const std::string& where) {
  if (special) return tokenizer_.encode_with_added(text);
  std::vector<int32_t> ids = tokenizer_.encode(text);
  if (!has_told_of_special_ && ids != tokenizer_.encode_with_added(text)) {
    has_told_of_special_ = true;
    log::warn(command_, ": ", where, ": spells a special token of the tokenizer, which is read as ",
              "plain text; --special makes it the token");
  }
  return ids;
}

void PromptNotes::length(int64_t tokens, const std::string& where) {
  if (tokens <= longest_ || ++num_long_ > kMostNamed) return;
  log::warn(command_, ": ", where, ": ", with_thousands(tokens),
            " tokens are longer than the model's longest sequence, ", with_thousands(longest_),
            " (model.max_position_embeddings): it sees the last ",
            with_thousands(std::max<int64_t>(1, longest_ / 2)));
}

void PromptNotes::tell() const {
  if (num_long_ > kMostNamed)
    log::warn(command_, ": ", counted(num_long_, "prompt"), " in all were longer than the model's ",
              "longest sequence");
}

}  // namespace orthant
