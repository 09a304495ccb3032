// SPDX-License-Identifier: Apache-2.0
// The directory of a run: made and checked before any compute, held by one job at a time.
//
// All failures are Error(kCannotWrite) and name the path, the system's reason and what to do.
#pragma once

#include <string>

namespace orthant {

// Paths inside a run directory.  Touches nothing.
struct RunPaths {
  std::string dir;
  std::string config() const { return dir + "/config.yaml"; }
  std::string metrics() const { return dir + "/metrics.jsonl"; }
  std::string report() const { return dir + "/report.html"; }
  std::string file(const std::string& name) const { return dir + "/" + name; }  // of a tokenizer
  std::string hub() const { return dir + "/hub"; }  // files of a published model
  std::string pipeline() const { return dir + "/pipeline.json"; }
  std::string saved_step() const { return dir + "/checkpoints.newest"; }
  std::string lock() const { return dir + "/run.lock"; }
  std::string checkpoints() const { return dir + "/checkpoints"; }
  std::string log_file(int rank) const;  // logs/rank-00003.log
};

// The run that a checkpoint, RUN/checkpoints/step-..., is of.
RunPaths run_of_checkpoint(const std::string& checkpoint);

// Makes the directory with checkpoints/ and logs/, parents included, and proves that files can be
// written there.  Rank 0 calls it; safe to repeat.
void create_run_dir(const RunPaths& paths);

// Writes a small file, syncs it and removes it.
void check_writable(const std::string& dir);

// Exclusive use of a run directory, from construction to destruction (or the end of the process).
// Rank 0 takes it.  A lock that is held is refused after at most `wait_seconds`, naming host,
// process and start of the holder; one left behind by a process that is gone is taken over with a
// logged note.
class RunLock {
 public:
  explicit RunLock(const RunPaths& paths, double wait_seconds = 1.0);
  ~RunLock();
  RunLock(const RunLock&) = delete;
  RunLock& operator=(const RunLock&) = delete;

  const std::string& note() const { return note_; }  // "" unless a stale lock was taken over

 private:
  std::string path_;
  std::string note_;
  int fd_ = -1;
};

}  // namespace orthant
