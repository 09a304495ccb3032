// SPDX-License-Identifier: Apache-2.0
// Runs a rank's part of a schedule: calls the model's stages and moves values between them.
#pragma once

#include <functional>
#include <map>
#include <vector>

#include "parallel/comm/group.h"
#include "parallel/pipeline/schedule.h"
#include "parallel/pipeline/timeline.h"
#include "tensor/autograd/var.h"

namespace orthant::pipeline {

// What the interpreter calls, each for the stages of this rank.  Values are handed over for good:
// the interpreter drops them as soon as they were sent or used.
struct StageFunctions {
  // The stage's output, for stage + 1; the last stage's is dropped.  x: its input, undefined for
  // stage 0.  What backward needs is kept by the callee, per (stage, micro-batch).
  std::function<Tensor(int stage, int micro_batch, const Tensor& x)> forward;
  // The gradient by the stage's input; stage 0's is dropped.  dy: by its output, undefined for the
  // last stage.  With a queue the work for the weights is put there; the interpreter keeps it and
  // runs it when backward_weight's turn comes.
  std::function<Tensor(int stage, int micro_batch, const Tensor& dy, WeightGradQueue* queue)>
      backward;
  // An uninitialised tensor like the input of `stage` (1 and above), to receive it or its gradient
  // into.
  std::function<Tensor(int stage, int micro_batch)> input_like;
};

// A group of two for each channel (rank 0 sends, rank 1 receives), and all ranks of the pipeline.
struct PipelineGroups {
  Group pipeline;
  std::map<Channel, Group> channels;  // those of this rank
};

// Collective over the pipeline's ranks, whose number must be the schedule's.  All channels are made
// at once, in one fixed order; any number of micro-batches and steps may use them.
PipelineGroups make_pipeline_groups(const Group& pipeline, const Schedule& schedule,
                                    Site site = Site::current());

// Runs the program of this rank, of a schedule from make_schedule; every rank of the pipeline calls
// it.  Returns what was measured, in program order, in seconds since the call.  Everything has been
// sent and received when it returns.  An error gets the place in the schedule in front where it was
// met: one who waits in vain for a message says of which stage and micro-batch.
std::vector<Span> run_schedule(const Schedule& schedule, const PipelineGroups& groups,
                               const StageFunctions& stages);

// Everybody's measurements.  Collective; starts are comparable where ranks called run_schedule at
// one time, behind a barrier, or moved their spans to one clock (common_clock.h).
Timeline gather_timeline(const Group& pipeline, const Schedule& schedule,
                         const std::vector<Span>& mine);

}  // namespace orthant::pipeline
