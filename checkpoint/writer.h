// SPDX-License-Identifier: Apache-2.0
// Saves checkpoints while training goes on.
//
//   CheckpointWriter writer(world, run_dir + "/checkpoints", {.run_id = id, .keep = 3});
//   for (step...) {
//     train();
//     writer.poll();                                        // every step, every rank
//     if (step % interval == 0) writer.save(step, tensors, meta);
//   }
//   writer.finish();
//
// Collective over the writer's group: the constructor, save, poll and finish; every rank calls them
// in the same order with the same step.  Communication happens inside these calls only, on the
// calling thread.  The directory must belong to this job alone (run.lock).
//
// A save that fails on any rank (disk full, ...) fails on all: its files are removed, earlier
// checkpoints stay, a warning says rank, path, reason, bytes wanted and free; training goes on.
#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <span>
#include <string>

#include "checkpoint/checkpoint_tensor.h"
#include "parallel/comm/group.h"

namespace orthant {

struct CheckpointMeta {
  int64_t samples = 0;  // data position
  std::string layout;   // for people
  std::string configuration;
  std::map<std::string, std::string> extra;
};

class CheckpointWriter {
 public:
  struct Options {
    std::string run_id = "run";
    int64_t keep = 2;          // checkpoints that stay, at least 2
    bool asynchronous = true;  // false: save() returns when the checkpoint is complete
    double timeout_seconds = 1800;
  };
  // Makes the directory, sees that it can be written, and removes what a dead job left unfinished.
  // Error(kCannotWrite) on all ranks otherwise; Error(kConfig) for keep < 2.
  CheckpointWriter(Group world, std::string directory, Options options);
  ~CheckpointWriter();  // not collective: gives up a pending save
  CheckpointWriter(const CheckpointWriter&) = delete;
  CheckpointWriter& operator=(const CheckpointWriter&) = delete;

  // Waits for a pending save first (and throws what poll() throws).  Returns when this rank's share
  // is copied to host memory; the tensors may change afterwards.  Each slice is written by one of
  // the ranks that hold it. Error(kInternal) on all ranks when the slices do not hold every element
  // exactly once.
  void save(int64_t step, std::span<const CheckpointTensor> tensors, const CheckpointMeta& meta);
  // The checkpoint of this step stays, whatever is newer, until another is told; -1: none.  Counted
  // beside Options::keep.
  void keep_step(int64_t step);
  // Completes a pending save when all ranks are ready; cheap otherwise.
  // Error(kCannotWrite) on all ranks after three failures in a row, or when ranks did not finish
  // within the timeout, naming them.
  void poll();
  // Waits for the pending save.  Whether the last save() (if any) became a checkpoint.
  bool finish();

  bool pending() const;
  int64_t last_step() const;  // of the last save that was completed, -1 before
  int64_t failures_in_a_row() const;
  double stall_seconds() const;  // that the last save() took: what the step waited

 private:
  struct State;
  std::unique_ptr<State> state_;
};

}  // namespace orthant
