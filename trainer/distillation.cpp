// SPDX-License-Identifier: Apache-2.0
#include "trainer/distillation.h"

#include "base/error.h"
#include "tensor/autograd/soft_loss.h"

namespace orthant {
namespace {

const Tensor& from_teacher(const MicroBatch& batch, const char* name) {
  const auto found = batch.local_rows.find(name);
  ORTHANT_CHECK(found != batch.local_rows.end(), kInternal,
                "distillation: no teacher has looked at the micro-batch: ", name);
  return found->second;
}

// The first `count` columns, or one of them, of rows on the host.
Tensor columns(const Tensor& rows, int64_t begin, int64_t end) {
  std::vector<double> kept;
  const std::vector<double> all = rows.to_doubles();
  for (auto row = all.begin(); row != all.end(); row += rows.dim(1))
    kept.insert(kept.end(), row + begin, row + end);
  return Tensor::from({rows.dim(0), end - begin}, kept, rows.dtype());
}

Tensor column(const Tensor& rows, int64_t index) {
  return columns(rows, index, index + 1).view({rows.dim(0)});
}

}  // namespace

std::vector<std::string> Distillation::sum_names() const {
  std::vector<std::string> names = {"lm_loss", "distill_loss", "agreement"};
  if (predicts_further_) names.emplace_back(kFurtherLoss);
  return names;
}

ObjectiveRows Distillation::run(const Transformer& last_stage, const Var& rows, Pass& pass,
                                const MicroBatch& batch) const {
  SoftTargets targets{.temperature = section_.temperature,
                      .forward = section_.forward(),
                      .reverse = section_.reverse(),
                      .weight = 1.0 - section_.hard_weight,
                      .label_weight = section_.hard_weight};
  if (section_.top_k > 0) {
    targets.ids = from_teacher(batch, kTeacherIds);
    targets.log_probs = from_teacher(batch, kTeacherLogProbs);
    if (section_.rest == RestKind::kNone)
      targets.log_probs = columns(targets.log_probs, 0, targets.ids.dim(1));
  } else {
    const Tensor& stream = from_teacher(batch, kTeacherStream);
    targets.logits = [&](int64_t begin, int64_t end) { return head_(stream.slice(begin, end)); };
  }
  const HeadLoss loss = last_stage.head().loss(rows, pass.labels, {}, &targets);
  ObjectiveRows result{.loss = loss.sum,
                       .losses = loss.losses,
                       .sums = {loss.unweighted, column(loss.soft, 0), column(loss.soft, 1)}};
  if (predicts_further_) add_further_loss(last_stage, rows, pass, batch, result);
  return result;
}

}  // namespace orthant
