// SPDX-License-Identifier: Apache-2.0
// The world of ranks that are threads of one process: one inbox per rank.
//
// Sending copies into a shared block and never waits; receiving copies out.  Nobody spins: a rank
// that waits sleeps until something lands in its inbox.
#pragma once

#include <atomic>
#include <condition_variable>
#include <map>
#include <memory>
#include <mutex>
#include <string>
#include <tuple>
#include <vector>

#include "parallel/comm/host_group.h"

namespace orthant {

// Who sent what: all that must be equal, except the kind of operation, which is compared on
// arrival so that a mismatch is found at once.
using MessageKey = std::tuple<int, int, bool, int64_t>;  // group, source, collective, sequence

struct Message {
  Call call;  // the sender's
  Tensor block;
  int64_t offset = 0, bytes = 0;
};

struct Inbox {
  std::mutex mutex;
  std::condition_variable changed;
  int64_t version = 0;  // counts arrivals and news
  std::map<MessageKey, Message> messages;
};

class ThreadWorld {
 public:
  explicit ThreadWorld(int size);
  int size() const { return static_cast<int>(inboxes_.size()); }
  Inbox& inbox(int rank) { return *inboxes_[static_cast<size_t>(rank)]; }
  void deliver(int to, const MessageKey& key, Message message);

  // The first reason counts; everybody wakes.
  void abort(int rank, const std::string& reason);
  // Error(kComm) with the reason when the world was aborted.
  void check_alive() const;
  // The rank will send nothing more.
  void leave(int rank);
  bool has_left(int rank) const { return left_[static_cast<size_t>(rank)].load(); }

  StatusPage* page(int rank) { return &pages_[static_cast<size_t>(rank)]; }
  // The messages that lie in the inboxes; "" when there are none.
  std::string unreceived();

  // The same number on every rank that names the same split.
  int group_id(int parent, int64_t split, int color);

 private:
  void wake_all();

  std::vector<std::unique_ptr<Inbox>> inboxes_;
  std::vector<std::atomic<bool>> left_;
  std::vector<StatusPage> pages_;
  std::atomic<bool> aborted_{false};
  mutable std::mutex mutex_;
  std::string reason_;
  std::map<std::tuple<int, int64_t, int>, int> group_ids_;
};

// The group of all ranks, for `rank`.
std::shared_ptr<GroupImpl> make_thread_group(std::shared_ptr<ThreadWorld> world, int rank,
                                             double deadline_seconds);

}  // namespace orthant
