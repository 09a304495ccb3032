// SPDX-License-Identifier: Apache-2.0
#include "trainer/objective.h"

#include "base/error.h"

namespace orthant {
namespace {

// Null where the micro-batch has none.
const std::vector<double>* weights_of(const MicroBatch& batch) {
  const auto found = batch.token_columns.find(LanguageModeling::kWeights);
  if (found == batch.token_columns.end()) return nullptr;
  ORTHANT_CHECK(std::ssize(found->second) == batch.num_tokens(), kInternal,
                "language modelling: want a weight for each of ", batch.num_tokens(),
                " tokens, got ", found->second.size());
  return &found->second;
}

}  // namespace

double LanguageModeling::count(const MicroBatch& batch) const {
  const std::vector<double>* weights = weights_of(batch);
  if (!weights) return static_cast<double>(batch.num_labels());
  double sum = 0;
  for (size_t i = 0; i < weights->size(); ++i)
    if (batch.labels[i] >= 0) sum += (*weights)[i];
  return sum;
}

ObjectiveRows LanguageModeling::run(const Head& head, const Var& rows, const Pass& pass,
                                    const MicroBatch& batch) const {
  Tensor weights;
  if (const std::vector<double>* all = weights_of(batch))
    weights = pass.local(Tensor::from({batch.num_tokens()}, *all, DType::kF64));
  HeadLoss loss = head.loss(rows, pass.labels, weights);
  return {.loss = std::move(loss.sum), .losses = std::move(loss.losses), .sums = {}};
}

}  // namespace orthant
