// SPDX-License-Identifier: Apache-2.0
// What a checkpoint of a loop over steps says beside its tensors, and what follows from it for the
// run that goes on.
#pragma once

#include <string>
#include <vector>

#include "base/config/config.h"
#include "checkpoint/manifest.h"
#include "trainer/adapters.h"
#include "trainer/run_plan.h"

namespace orthant {

struct LoopState {
  std::string data_fingerprint, tokenizer;
  std::string begins_with;      // the token before every text, of a base that has one
  int64_t total_steps = 0;      // of the schedule
  int64_t sequence_length = 0;  // of the samples that were counted; 0: before this was kept
  AdapterBase base;             // of a run that trains adapters
  void fields(FieldVisitor& v) {
    base.fields(v);
    v.field("data_fingerprint", data_fingerprint, any_text(), "of what decides a sample");
    v.field("tokenizer", tokenizer, any_text(), "its name");
    v.field("begins_with", begins_with, any_text(), "the token before every text, if any");
    v.field("total_steps", total_steps, at_least(0), "where the schedule ends");
    v.field("sequence_length", sequence_length, at_least(0), "tokens of a sample");
  }
};

// A schedule whose end the user did not give ends where it did when the run began: a larger
// run.max_steps goes on at the minimum, and does not bend the curve behind the steps that were
// taken.  Where that minimum is 0 nothing would be learned: then it follows run.max_steps.
RunPlan going_on(const RunPlan& plan, const LoopState& stored);

// Samples are counted on from what the checkpoint had consumed, whatever the batch is now.
// manifest: null where the run begins.
BatchSizes settle_sizes(const RunConfig& config, const Manifest* manifest, const LoopState& stored);

// What may not differ between a checkpoint's run and this one, a line each; differences: of their
// configurations.  The schedule's end is compared as it was, not as it was written: a stored
// configuration leaves open what the user left open.
std::vector<std::string> run_changes(const RunPlan& plan, const LoopState& stored,
                                     const std::vector<ConfigDifference>& differences,
                                     const std::string& data, const std::string& tokenizer);

}  // namespace orthant
