// SPDX-License-Identifier: Apache-2.0
// The teacher's part in the loop of fine-tuning, which has one or none.
#pragma once

#include <memory>

#include "data/supervised_batches.h"
#include "trainer/run/metrics.h"
#include "trainer/run_teacher.h"

namespace orthant {

class Teaching {
 public:
  // The teacher that the configuration names, if any: the model, or a file of what it said.
  // Collective.
  Teaching(const FinetuneConfig& config, const RunPlan& plan, const SupervisedData& data,
           const Group& world, Device device);

  // What the learner trains towards; null: labels alone.
  std::shared_ptr<const Objective> objective() const { return objective_; }
  // Once the learner is there.
  void begin(const Role& learner);
  // Null: none.
  const Teacher* teacher() const { return teacher_.get(); }
  // Of its weights; "" for none.
  const std::string& fingerprint() const { return fingerprint_; }
  // Of distill.teacher.from.
  const Manifest& model() const { return model_; }

 private:
  Manifest model_;
  std::shared_ptr<const TeacherFile> file_;
  std::shared_ptr<const Teacher> teacher_;
  std::shared_ptr<const Objective> objective_;
  std::string fingerprint_;
};

// Over all held-out conversations; a teacher looks at some of them at a time.  Collective.
EvaluationResult evaluate_all(const Engine& engine, const SupervisedEvaluation& batches,
                              const Teacher* teacher);

// Distillation's parts, means over `count` labels; `prefix`: "" or "validation_".
void add_distillation(const std::vector<double>& sums, double count, const std::string& prefix,
                      StepMetrics& metrics);

}  // namespace orthant
