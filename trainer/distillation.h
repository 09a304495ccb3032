// SPDX-License-Identifier: Apache-2.0
// Training towards what a teacher says of the next token, beside labels.
#pragma once

#include <functional>

#include "trainer/distill_config.h"
#include "trainer/objective.h"

namespace orthant {

// What a teacher hangs on a micro-batch (MicroBatch::local_rows), where the last stage is:
// SoftTargets::ids and log_probs of every row that has a label, or without distill.top_k its own
// stream behind the final norm, of all rows.
inline constexpr const char* kTeacherIds = "teacher_ids";
inline constexpr const char* kTeacherLogProbs = "teacher_log_probs";
inline constexpr const char* kTeacherStream = "teacher_stream";

// The teacher's logits of rows of its stream, W [n, V], all tokens.  Collective over tensor ranks.
using TeacherHead = std::function<Tensor(const Tensor& stream)>;

// Over the labelled tokens of a step the mean of
//   hard_weight * -log p(label) + (1 - hard_weight) * T^2 (forward KL + reverse KL)
// with the teacher's distribution at each of them (tensor/autograd/soft_loss.h).  Sums: the two
// parts without their weights, and for how many tokens the likeliest one is the teacher's; with a
// layer that predicts further its loss too.
class Distillation final : public Objective {
 public:
  static constexpr size_t kLmLoss = 0, kDistillLoss = 1, kAgreement = 2;  // of the sums

  // head: where distill.top_k is 0.
  Distillation(const DistillSection& section, TeacherHead head, bool predicts_further)
      : section_(section), head_(std::move(head)), predicts_further_(predicts_further) {}
  double count(const MicroBatch& batch) const override {
    return static_cast<double>(batch.num_labels());
  }
  std::vector<std::string> sum_names() const override;
  ObjectiveRows run(const Transformer& last_stage, const Var& rows, Pass& pass,
                    const MicroBatch& batch) const override;

 private:
  DistillSection section_;
  TeacherHead head_;
  bool predicts_further_;
};

}  // namespace orthant
