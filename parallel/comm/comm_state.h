// SPDX-License-Identifier: Apache-2.0
// What one rank keeps about its communication: deadline, step, the operations under way and the
// ring of the last ones.  Shared by all groups split from one world.
//
// Used by the rank's own thread, but for ring_text(), which a watchdog may call at any time.
//   (I1) Every operation that has not completed is in the list of pending ones, also when nobody
//        holds its Work: buffers stay alive, and operations of several phases go on.
//   (I2) Whoever waits polls all pending operations, not only its own: a peer may need the next
//        phase of an earlier one before it can do what this rank waits for.
#pragma once

#include <cstdint>
#include <deque>
#include <memory>
#include <mutex>
#include <source_location>
#include <string>
#include <vector>

#include "tensor/dtype.h"

namespace orthant {

using Site = std::source_location;

class WorkImpl;

// What must be equal on all ranks for them to be in the same operation.
enum class OpKind : int { kSendRecv, kAllToAll, kAllGather, kBroadcast, kBarrier, kSum, kControl };
inline constexpr int kNumOpKinds = 7;

// One operation as its caller sees it.
struct Call {
  OpKind kind = OpKind::kControl;
  const char* op = "";
  Site site;
  int64_t bytes = 0;
  DType dtype = DType::kU8;
  int64_t sequence = -1;  // of the collectives of the group; of the pair for send and recv
  int64_t record = -1;    // in the ring; -1 for the inner phases of another operation
};

struct OpRecord {
  int64_t number = 0;  // of this rank, over all groups
  const char* op = "";
  std::string group;
  int64_t bytes = 0;
  DType dtype = DType::kU8;
  int64_t step = 0;
  Site site;
  double started_seconds = 0, done_seconds = 0;  // done 0: pending
};

// "comm/group_test.cpp:33"
std::string text_of(const Site& site);
// "ranks 2, 5"
std::string ranks_text(const std::vector<int>& ranks);

class CommState {
 public:
  CommState() = default;
  virtual ~CommState() = default;
  CommState(const CommState&) = delete;
  CommState& operator=(const CommState&) = delete;

  int64_t begin(const std::string& group, const Call& call);  // the record's number
  void finish(int64_t record);
  std::string ring_text(int last) const;

  void add(std::shared_ptr<WorkImpl> work);
  void poll();
  // Until `work` is done; Error(kComm) when the deadline passes.
  void wait(WorkImpl& work);
  // Completes everything that is pending and has not failed (before a rank leaves), or forgets it
  // (after a failure).
  void drain();
  void drop() { pending_.clear(); }

  // Gives up what is under way here and wakes everybody; see Group::abort.
  void abort(const std::string& reason);
  // Error(kComm) with the reason when another rank has aborted, where it can be known.
  virtual void check_alive() {}

  double deadline_seconds = 600;
  // For tests: tensors in host memory take the way of device memory (host_group.h).
  bool stage_everything = false;
  int64_t step = 0;
  // Operations under way whose end nobody tells this rank: it has to look.
  int64_t silent_operations = 0;

 protected:
  virtual void wake_all(const std::string& reason) = 0;
  // Blocks until something may have changed, at most until `until` (now_seconds).  `tries` counts
  // the calls of one wait, from 0.
  virtual void idle(int64_t tries, double until) = 0;

 private:
  void sweep();

  static constexpr size_t kRingSize = 256;
  mutable std::mutex ring_mutex_;
  std::deque<OpRecord> ring_;
  int64_t next_record_ = 0;

  std::vector<std::shared_ptr<WorkImpl>> pending_;
  bool polling_ = false;
};

}  // namespace orthant
