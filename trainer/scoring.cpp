// SPDX-License-Identifier: Apache-2.0
#include "trainer/scoring.h"

#include <algorithm>
#include <numeric>

#include "base/error.h"
#include "trainer/sampling.h"

namespace orthant {
namespace {

constexpr int64_t kRows = 64;  // whose logits are there at once

// Of the labels behind rows [begin, begin + logits.dim(0)).
void add_rows(const Tensor& logits, std::span<const int32_t> labels, std::vector<double>& result) {
  const std::vector<double> values = logits.to_doubles();
  const auto vocab = static_cast<size_t>(logits.dim(1));
  for (size_t r = 0; r < labels.size(); ++r)
    result.push_back(log_probability({values.data() + r * vocab, vocab}, labels[r]));
}

}  // namespace

MicroBatch document_row(std::span<const int32_t> ids) {
  MicroBatch row{.sequences = 1, .length = std::ssize(ids), .ids = {ids.begin(), ids.end()}};
  row.labels.assign(ids.size(), kIgnoredLabel);
  row.positions.resize(ids.size());
  std::iota(row.positions.begin(), row.positions.end(), 0);
  row.doc_start.assign(ids.size(), 0);
  row.sample_ids = {0};
  return row;
}

void for_hidden_rows(const Transformer& model, std::span<const int32_t> ids,
                     FunctionRef<void(const Tensor& rows, int64_t begin)> use) {
  const ModelConfig& config = model.config();
  for (const int32_t id : ids)
    ORTHANT_CHECK(id >= 0 && id < config.vocab_size, kData, "want a token in [0, ",
                  config.vocab_size, "), got ", id);
  const int64_t count = std::ssize(ids), longest = config.max_position_embeddings;
  const NoGradScope no_grad;
  for (int64_t begin = 0, seen = 0; seen < count; begin += std::max<int64_t>(1, longest / 2)) {
    const int64_t end = std::min(count, begin + longest);
    Pass pass(
        document_row(ids.subspan(static_cast<size_t>(begin), static_cast<size_t>(end - begin))),
        model.ranks(), model.device());
    const Tensor hidden = model.forward(Var(), pass).value();
    use(hidden.slice(seen - begin, end - begin), seen);
    seen = end;
  }
}

std::vector<double> log_probabilities(const Transformer& model, std::span<const int32_t> ids) {
  std::vector<double> result;
  const int64_t count = std::ssize(ids);
  if (count < 2) return result;
  for_hidden_rows(model, ids, [&](const Tensor& hidden, int64_t begin) {
    const int64_t end = std::min(begin + hidden.dim(0), count - 1);  // the last one has no label
    for (int64_t row = begin; row < end; row += kRows) {
      const int64_t last = std::min(row + kRows, end);
      add_rows(model.head().logits(hidden.slice(row - begin, last - begin)),
               ids.subspan(static_cast<size_t>(row + 1), static_cast<size_t>(last - row)), result);
    }
  });
  return result;
}

}  // namespace orthant
