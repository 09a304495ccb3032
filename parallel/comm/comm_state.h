// SPDX-License-Identifier: Apache-2.0
// What one rank keeps about its communication: deadline, step, the operations under way and the
// ring of the last ones.  Shared by all groups split from one world.
//
// Used by the rank's own thread, but for ring_text(), which may be called at any time, and the
// status page, which other ranks read (watchdog.h).
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

#include "parallel/comm/status_page.h"
#include "tensor/dtype.h"

namespace orthant {

using Site = std::source_location;

class GroupImpl;
class WorkImpl;

// What must be equal on all ranks for them to be in the same operation.
enum class OpKind : int {
  kSendRecv,
  kAllToAll,
  kAllGather,
  kBroadcast,
  kBarrier,
  kSum,
  kControl,
  kAgree
};
inline constexpr int kNumOpKinds = 8;

// One operation as its caller sees it.
struct Call {
  OpKind kind = OpKind::kControl;
  const char* op = "";
  Site site;
  int64_t bytes = 0;
  DType dtype = DType::kU8;
  int64_t sequence = -1;  // of the collectives of the group; of the pair for send and recv
  int64_t record = -1;    // in the ring; -1 for the inner phases of another operation
  int64_t place = -1;     // among the group's collectives as callers count them; -1: send, recv
  std::string message;    // of send and recv: which one it is, where the caller said so
  // What arrives is not looked at before this is done (contract.h); for recv.
  std::shared_ptr<WorkImpl> guard;
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
std::string seconds_text(double seconds);  // "12.3 s"

class CommState {
 public:
  CommState() = default;
  virtual ~CommState() = default;
  CommState(const CommState&) = delete;
  CommState& operator=(const CommState&) = delete;

  int64_t begin(const GroupImpl& group, const Call& call);  // the record's number
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
  bool check_collectives = false;  // contract.h

  // The status pages of the world's ranks; null for those that this rank cannot read, its own among
  // them when nobody else can.
  std::vector<StatusPage*> pages;
  // Shown on this rank's page.
  void show_waiting(const WorkImpl& work);
  void show_running();
  void show_left(RankPhase phase, const std::string& reason);
  const RankStatus& status() const { return status_; }

 protected:
  virtual void wake_all(const std::string& reason) = 0;
  // Blocks until something may have changed, at most until `until` (now_seconds).  `tries` counts
  // the calls of one wait, from 0.
  virtual void idle(int64_t tries, double until) = 0;

  // Connects this rank with its page; by the thread that communicates.
  void open_page(int world_rank);

 private:
  void sweep();
  void set_phase(RankPhase phase);
  void show(const GroupImpl& group, const Call& call);
  void publish();

  static constexpr size_t kRingSize = 256;
  mutable std::mutex ring_mutex_;
  std::deque<OpRecord> ring_;
  int64_t next_record_ = 0;

  std::vector<std::shared_ptr<WorkImpl>> pending_;
  bool polling_ = false;

  RankStatus status_;
  int world_rank_ = 0;
};

}  // namespace orthant
