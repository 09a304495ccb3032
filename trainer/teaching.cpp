// SPDX-License-Identifier: Apache-2.0
#include "trainer/teaching.h"

#include <algorithm>

#include "checkpoint/reader.h"
#include "trainer/agree.h"
#include "trainer/run_beginning.h"

namespace orthant {

Teaching::Teaching(const FinetuneConfig& config, const RunPlan& plan, const SupervisedData& data,
                   const Group& world, Device device) {
  if (!config.distill.is_on()) return;
  const TeacherSection& named = config.distill.teacher;
  TeacherHead head;
  if (named.log_probs.empty()) {
    const RunTeacher run = make_run_teacher(config, plan, *data.tokenizer, world, device);
    model_ = run.manifest;
    head = run.teacher->head();
    fingerprint_ = run.teacher->fingerprint();
    teacher_ = run.teacher;
  } else {
    if (!named.from.empty()) {
      model_ = read_manifest(first_rank_does(world, [&] { return teacher_checkpoint(config); }));
      fingerprint_ = teacher_fingerprint(model_);
    }
    file_ = open_teacher_file(config, data, fingerprint_, world);
    fingerprint_ = file_->info().teacher;
  }
  objective_ = std::make_shared<Distillation>(config.distill, std::move(head),
                                              config.model.num_nextn_predict_layers > 0);
}

void Teaching::begin(const Role& learner) {
  if (file_) teacher_ = std::make_shared<StoredTeacher>(file_, learner);
}

EvaluationResult evaluate_all(const Engine& engine, const SupervisedEvaluation& batches,
                              const Teacher* teacher) {
  if (!teacher)
    return engine.evaluate([&](int64_t i) { return batches.batch(i); }, batches.num_batches());
  const int64_t window = 4 * engine.role().groups().pipeline.size();
  EvaluationResult result;
  for (int64_t begin = 0; begin < batches.num_batches(); begin += window) {
    std::vector<MicroBatch> some;
    for (int64_t i = begin; i < std::min(begin + window, batches.num_batches()); ++i)
      some.push_back(batches.batch(i));
    teacher->look_at(some);
    result.add(
        engine.evaluate([&](int64_t i) { return some[static_cast<size_t>(i)]; }, std::ssize(some)));
  }
  return result;
}

void add_distillation(const std::vector<double>& sums, double count, const std::string& prefix,
                      StepMetrics& metrics) {
  metrics.extra.emplace_back(prefix + "distill_loss", sums[Distillation::kDistillLoss] / count);
  metrics.extra.emplace_back(prefix + "agreement", sums[Distillation::kAgreement] / count);
}

}  // namespace orthant
