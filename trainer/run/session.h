// SPDX-License-Identifier: Apache-2.0
// A run as files, over its whole life: its directory and lock, the checkpoint that it goes on from,
// what its steps leave behind, its checkpoints, its signals.  Knows no model: what is saved comes
// as named tensors.
//
//   RunSession session(options, world);
//   ... open data, make roles; session.checkpoint() says what they may look at ...
//   session.begin({.configuration = yaml, ...}, saved);   // loads, where there is a checkpoint
//   while (session.has_next()) {
//     StepMetrics metrics = ...train(session.next_step(), session.wants_stop())...;
//     session.end_step(metrics, {.stop = any rank wants to stop});
//   }
//   session.finish();
//
// All functions but those that say otherwise are collective over the session's ranks.
#pragma once

#include <atomic>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "checkpoint/checkpoint_tensor.h"
#include "checkpoint/manifest.h"
#include "checkpoint/writer.h"
#include "parallel/comm/group.h"
#include "trainer/run/event_file.h"
#include "trainer/run/metrics.h"
#include "trainer/run/progress.h"
#include "trainer/run/run_dir.h"
#include "trainer/run/run_state.h"

namespace orthant {

struct SessionOptions {
  std::string name, dir;
  int64_t max_steps = 0;
  bool may_resume = true;       // false: a directory with a checkpoint is refused
  bool accept_changes = false;  // go on although the configuration differs
  int64_t save_interval = 0;    // steps; 0: only the last one
  int64_t keep = 2;             // checkpoints
  bool asynchronous = true;
  int64_t log_interval = 10;
  bool progress_bar = true;
  bool tensorboard = true;
  double timeout_seconds = 600;
  const std::atomic<bool>* stop = nullptr;  // set by a signal handler
  double start_seconds = 0;                 // when the process began
};

// Tensors of a checkpoint: those of a role, say.
struct SavedTensors {
  std::function<std::vector<CheckpointTensor>()> tensors;  // views of what is there now
  std::function<void()> loaded;                            // the views were filled; may be empty
};

// What makes a run this run.
struct RunIdentity {
  std::string configuration;  // kept as config.yaml and in every checkpoint
  // How a checkpoint's configuration differs in what may not change, a line each; accepted or not.
  std::function<std::vector<std::string>(const std::string& stored)> changes;
  std::string layout;  // for people
  // Of the loop, beside what the session keeps itself.
  FieldList state;
  std::function<int64_t(int64_t step)> samples_after = [](int64_t step) { return step; };
};

struct StepEnd {
  bool stop = false;     // on all ranks or on none
  bool is_good = true;   // the weights are worth keeping
  bool is_best = false;  // saved, and kept until another one is best
  bool is_done = false;  // the run ends here, before max_steps; on all ranks or on none
};

class RunSession {
 public:
  // Makes the directory, takes the lock and finds the checkpoint.  Error(kCannotWrite): also where
  // ranks do not see one directory, and where a checkpoint that was saved is gone.
  RunSession(const SessionOptions& options, const Group& world);
  ~RunSession();
  RunSession(const RunSession&) = delete;
  RunSession& operator=(const RunSession&) = delete;

  const Group& world() const { return world_; }
  bool is_first() const { return world_.rank() == 0; }
  const RunPaths& paths() const { return paths_; }
  // What the run goes on from; null where it begins.
  const Manifest* checkpoint() const { return manifest_ ? &*manifest_ : nullptr; }
  // Fills in a loop's state from it.  Not collective.
  void read(const FieldList& state) const;
  double start_seconds() const { return options_.start_seconds; }
  double seconds_before_data() const { return seconds_before_data_; }

  // Loads what is saved, where there is a checkpoint, and opens the records.  Error(kConfig) for a
  // run that differs.
  void begin(RunIdentity identity, std::vector<SavedTensors> saved);
  bool has_next() const { return step_ < options_.max_steps && !stopped_ && !done_; }
  // Of a run that goes on: what its last job knew.  best_step: -1, none.
  void remember(int64_t best_step, bool is_done);
  int64_t step() const { return step_; }  // done
  int64_t next_step() const { return step_ + 1; }
  int64_t first_step() const { return first_step_; }  // of this job
  bool is_last(int64_t step) const { return step == options_.max_steps; }
  bool wants_stop() const { return options_.stop && options_.stop->load(); }  // this rank
  // Records the step, and saves where it is time.
  void end_step(const StepMetrics& metrics, const StepEnd& end);
  // "the newest checkpoint is step 3", for messages.
  std::string saved_text() const;
  // Waits for the last checkpoint.  Whether all steps were done.
  bool finish();

 private:
  void check_same_directory() const;
  void check_vanished() const;
  void check_same_run() const;
  void resume();
  void save(int64_t step);
  void note_saved();

  SessionOptions options_;
  Group world_;
  RunPaths paths_;
  std::unique_ptr<RunLock> lock_;
  std::optional<Manifest> manifest_;
  RunIdentity identity_;
  std::vector<SavedTensors> saved_;
  std::unique_ptr<CheckpointWriter> writer_;
  std::unique_ptr<MetricsWriter> metrics_;
  std::unique_ptr<EventFile> events_;
  std::unique_ptr<Progress> progress_;
  int64_t step_ = 0, first_step_ = 1;
  int64_t saved_step_ = -1, noted_step_ = -1;
  bool stopped_ = false, done_ = false;
  double seconds_before_data_ = 0;
};

}  // namespace orthant
