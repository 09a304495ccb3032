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

// Of the rows' losses by the token after the next: `factor` times the weight of the row that
// predicts that token alone.
std::vector<double> further_weights(const MicroBatch& batch, double factor) {
  const std::vector<double>* weights = weights_of(batch);
  std::vector<double> further(static_cast<size_t>(batch.num_tokens()), factor);
  for (size_t i = 0; weights && i + 1 < further.size(); ++i) further[i] *= (*weights)[i + 1];
  return further;
}

Tensor local_rows(const Pass& pass, const std::vector<double>& column) {
  return pass.local(Tensor::from({std::ssize(column)}, column, DType::kF64));
}

}  // namespace

void add_further_loss(const Transformer& last_stage, const Var& rows, Pass& pass,
                      const MicroBatch& batch, ObjectiveRows& result) {
  if (!pass.next_labels.defined()) return;
  const double factor = last_stage.config().mtp_loss_weight;
  HeadLoss further =
      last_stage.mtp()->loss(rows, pass, local_rows(pass, further_weights(batch, factor)));
  result.loss = add(result.loss, further.sum);
  result.sums.push_back(std::move(further.losses));
}

double LanguageModeling::count(const MicroBatch& batch) const {
  const std::vector<double>* weights = weights_of(batch);
  if (!weights) return static_cast<double>(batch.num_labels());
  double sum = 0;
  for (size_t i = 0; i < weights->size(); ++i)
    if (batch.labels[i] >= 0) sum += (*weights)[i];
  return sum;
}

std::vector<std::string> LanguageModeling::sum_names() const {
  return predicts_further_ ? std::vector<std::string>{kFurtherLoss} : std::vector<std::string>();
}

ObjectiveRows LanguageModeling::run(const Transformer& last_stage, const Var& rows, Pass& pass,
                                    const MicroBatch& batch) const {
  const std::vector<double>* weights = weights_of(batch);
  HeadLoss loss =
      last_stage.head().loss(rows, pass.labels, weights ? local_rows(pass, *weights) : Tensor());
  ObjectiveRows result{.loss = std::move(loss.sum), .losses = std::move(loss.losses), .sums = {}};
  if (predicts_further_) add_further_loss(last_stage, rows, pass, batch, result);
  return result;
}

}  // namespace orthant
