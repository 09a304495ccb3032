// SPDX-License-Identifier: Apache-2.0
// The teacher of a run, as its configuration names it.
#pragma once

#include "trainer/run_plan.h"
#include "trainer/supervised_data.h"
#include "trainer/teacher.h"

namespace orthant {

// distill.teacher.from: a frozen role beside the one that learns, laid out alike, on the plan's
// ranks; experts are shared out as the learner's where both have some.  Error(kConfig),
// kMissingInput, kData naming the key: another vocabulary, texts that are longer than the teacher
// knows, a layout that it cannot have.  Collective.
struct RunTeacher {
  std::shared_ptr<const LiveTeacher> teacher;
  Manifest manifest;
};
RunTeacher make_run_teacher(const FinetuneConfig& config, const RunPlan& plan,
                            const Tokenizer& tokenizer, const Group& world, Device device);

// distill.teacher.log_probs.  Error(kMissingInput), kData: damaged, or of other data, another
// tokenizer, top_k or temperature; teacher: of that which the run also names, "" for none.
// Collective.
std::shared_ptr<const TeacherFile> open_teacher_file(const FinetuneConfig& config,
                                                     const SupervisedData& data,
                                                     const std::string& teacher,
                                                     const Group& world);

// XXH3-128 of a model's weights, with those of the base that its adapters stand beside.
std::string teacher_fingerprint(const Manifest& manifest);

// Error(kConfig) naming the first token that differs.
void check_same_vocabulary(const Tokenizer& teacher, const Tokenizer& learner);

}  // namespace orthant
