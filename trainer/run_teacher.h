// SPDX-License-Identifier: Apache-2.0
// The teacher of a run, as its configuration names it.
#pragma once

#include "trainer/run_plan.h"
#include "trainer/teacher.h"

namespace orthant {

// A frozen role beside the one that learns, laid out alike, on the plan's ranks; experts are shared
// out as the learner's where both have some.  Begins a new model's texts as the teacher's do:
// Error(kConfig), kMissingInput, kData naming distill.teacher.from: another vocabulary, texts that
// are longer than it knows, a layout that it cannot have.  Collective.
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
