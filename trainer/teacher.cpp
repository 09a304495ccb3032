// SPDX-License-Identifier: Apache-2.0
#include "trainer/teacher.h"

#include <algorithm>

#include "data/supervised_batches.h"

namespace orthant {
namespace {

// Makes no loss, but what is hung on a micro-batch.
class TeacherObjective final : public Objective {
 public:
  explicit TeacherObjective(const DistillSection& section) : section_(section) {}
  double count(const MicroBatch&) const override { return 0; }
  ObjectiveRows run(const Transformer& last_stage, const Var& rows, Pass& pass,
                    const MicroBatch&) const override {
    const Head& head = last_stage.head();
    const Tensor stream = head.all_rows(rows.value(), pass.labels.numel());
    ObjectiveRows result;
    if (section_.top_k == 0) {
      result.made[kTeacherStream] = stream;
      return result;
    }
    const LikeliestTokens found =
        head.likeliest(stream, pass.labels, section_.top_k, section_.temperature);
    result.made[kTeacherIds] = found.ids;
    // As a file keeps them, whose bits are then the same.
    result.made[kTeacherLogProbs] = found.log_probs.to(wide_of(last_stage.dtype()));
    return result;
  }

 private:
  DistillSection section_;
};

}  // namespace

LiveTeacher::LiveTeacher(std::shared_ptr<Role> role, const DistillSection& section,
                         std::string fingerprint)
    : engine_(std::move(role), std::make_shared<TeacherObjective>(section), {}),
      fingerprint_(std::move(fingerprint)) {}

void LiveTeacher::look_at(std::span<MicroBatch> batches) const {
  engine_.forward(batches, [&](const StageMicroBatch& run) {
    for (const auto& [name, rows] : run.rows.made)
      batches[static_cast<size_t>(run.micro_batch)].local_rows[name] = rows;
  });
}

TeacherHead LiveTeacher::head() const {
  const auto& stages = role().pipeline().stages();
  if (!stages.back()->is_last()) return {};
  return [&last = *stages.back()](const Tensor& stream) { return last.head().logits(stream); };
}

void StoredTeacher::look_at(std::span<MicroBatch> batches) const {
  const auto& stages = learner_.pipeline().stages();
  if (std::none_of(stages.begin(), stages.end(), [](const auto& s) { return s->is_last(); }))
    return;
  const int64_t k = file_->info().top_k;
  for (MicroBatch& batch : batches) {
    std::vector<double> numbers(static_cast<size_t>(batch.num_tokens()), -1.0);
    if (const auto found = batch.token_columns.find(kLabelNumbers);
        found != batch.token_columns.end())
      numbers = found->second;
    const std::vector<double> local =
        learner_.groups()
            .rows_of(batch.sequences, batch.length)
            .local(Tensor::from({batch.num_tokens()}, numbers, DType::kF64))
            .to_doubles();
    const std::vector<int64_t> places(local.begin(), local.end());
    const int64_t rows = std::ssize(places);
    const Tensor ids = Tensor::empty({rows, k}, DType::kI32),
                 log_probs = Tensor::empty({rows, k + 1}, DType::kF64);
    file_->read(places, ids.span<int32_t>(), log_probs.span<double>());
    batch.local_rows[kTeacherIds] = ids;
    batch.local_rows[kTeacherLogProbs] = log_probs.to(file_->info().dtype);
  }
}

}  // namespace orthant
