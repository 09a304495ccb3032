// SPDX-License-Identifier: Apache-2.0
#include "tests/testing/random_batches.h"

#include <algorithm>
#include <random>

namespace orthant::testing {
namespace {

constexpr int32_t kEndOfDocument = 0, kPadding = -1;

// The kinds in the order of random_batches.h, mixed so that two neighbouring rows (a rank, a lane)
// never both have no gradient: 4 and 5 are apart.
void fill(MicroBatch& batch, int64_t row, int64_t global_row, int64_t sample, int32_t vocab,
          std::mt19937_64& random) {
  const int64_t kind = global_row * 3 % 8, length = batch.length;
  if (kind == 5) return;
  const bool packed = kind == 1 || kind == 6, shorter = kind == 2 || kind >= 6;
  std::vector<int32_t> tokens(static_cast<size_t>(shorter ? length * 2 / 3 + 1 : length + 1));
  // No token follows itself: the second of a document's first two would be the first over again,
  // and rounding alone would rank their scores.
  int32_t previous = 0;
  for (int32_t& token : tokens) {
    do {
      token = 1 + static_cast<int32_t>(random() % static_cast<uint64_t>(vocab - 1));
    } while (token == previous);
    previous = token;
  }
  if (packed)
    for (size_t at : {tokens.size() / 4, tokens.size() / 2}) tokens[at] = kEndOfDocument;
  fill_row(batch, row, tokens, kEndOfDocument, sample);
  const size_t begin = static_cast<size_t>(row * length), end = begin + static_cast<size_t>(length);
  for (size_t i = begin; kind == 7 && i < end; ++i) {
    if (batch.ids[i] != kPadding) continue;
    batch.doc_start[i] = 0;
    batch.positions[i] = static_cast<int32_t>(i - begin);
  }
  const int64_t unlabelled = kind == 3 ? length / 2 : kind == 4 ? length : 0;
  const auto first = batch.labels.begin() + row * length;
  std::fill(first, first + unlabelled, kIgnoredLabel);
}

}  // namespace

std::vector<MicroBatch> random_batches(const BatchRecipe& recipe, int64_t step) {
  std::mt19937_64 random(static_cast<uint64_t>(1000 + step));
  std::vector<MicroBatch> batches;
  for (int64_t m = 0; m < recipe.micro_batches; ++m) {
    MicroBatch& batch =
        batches.emplace_back(make_padding_batch(recipe.sequences, recipe.length, kPadding));
    for (int64_t row = 0; row < recipe.sequences; ++row) {
      const int64_t global_row = m * recipe.sequences + row;
      fill(batch, row, global_row, step * recipe.micro_batches * recipe.sequences + global_row,
           recipe.vocab, random);
    }
  }
  return batches;
}

}  // namespace orthant::testing
