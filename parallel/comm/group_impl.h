// SPDX-License-Identifier: Apache-2.0
// What an implementation of Group provides.  Group (group.cpp) checks arguments, composes the sums
// and answers for groups of one; implementations move bytes.
#pragma once

#include <memory>
#include <span>
#include <string>
#include <vector>

#include "parallel/comm/comm_state.h"
#include "tensor/tensor.h"

namespace orthant {

class GroupImpl;

// What came into host memory for a tensor of a device.
struct Arrival {
  Tensor host, device;
};

// An operation under way.  It keeps its group and its tensors alive until it is done.
class WorkImpl {
 public:
  WorkImpl(std::shared_ptr<GroupImpl> group, const Call& call, std::vector<Tensor> keep)
      : group_(std::move(group)), call_(call), keep_(std::move(keep)) {}
  virtual ~WorkImpl() = default;
  bool test();  // moves on; true when done
  void wait();
  bool is_done() const { return done_; }
  // Its error was thrown: nobody goes on with it, but its buffers stay (peers may still write).
  bool has_failed() const { return failed_; }
  virtual void give_up() { failed_ = true; }
  // Copied to the devices when the operation is done.
  void set_arrivals(std::vector<Arrival> arrivals) { arrivals_ = std::move(arrivals); }
  const Call& call() const { return call_; }
  const GroupImpl& group() const { return *group_; }

  // World ranks that this operation waits for, as far as is known.
  virtual std::vector<int> missing() const = 0;
  // Called about once a second while somebody waits: throws when it can prove that waiting is in
  // vain.
  virtual void diagnose() {}
  // What to do when the deadline has passed.
  virtual std::string advice() const {
    return "look at that rank's log, or raise parallel.timeout_seconds";
  }

 protected:
  virtual bool advance() = 0;

  std::shared_ptr<GroupImpl> group_;
  Call call_;

 private:
  std::vector<Tensor> keep_;
  std::vector<Arrival> arrivals_;
  bool done_ = false, failed_ = false;
};

class GroupImpl : public std::enable_shared_from_this<GroupImpl> {
 public:
  using WorkPtr = std::shared_ptr<WorkImpl>;

  GroupImpl(std::shared_ptr<CommState> state, int rank, std::string name,
            std::vector<int> world_ranks)
      : state_(std::move(state)),
        rank_(rank),
        name_(std::move(name)),
        world_ranks_(std::move(world_ranks)) {}
  virtual ~GroupImpl() = default;

  int rank() const { return rank_; }
  int size() const { return static_cast<int>(world_ranks_.size()); }
  const std::string& name() const { return name_; }
  const std::vector<int>& world_ranks() const { return world_ranks_; }
  int world_rank(int rank) const { return world_ranks_[static_cast<size_t>(rank)]; }
  CommState& state() const { return *state_; }
  const std::shared_ptr<CommState>& shared_state() const { return state_; }
  virtual int64_t next_sequence() { return sequence_++; }
  // The number of a later phase of an operation on `tensor`, which is certain to be posted.
  virtual int64_t reserve_sequence(const Tensor&) { return next_sequence(); }

  // Arguments were checked by Group; sizes are above 1, and what is posted completes in the
  // background (I1).  members: ranks of this group in their new order, empty for a rank in none;
  // every rank of this group calls split.
  virtual std::shared_ptr<GroupImpl> split(int color, const std::vector<int>& members,
                                           const std::string& name) = 0;
  virtual WorkPtr all_to_all(const Call& call, const Tensor& send,
                             std::span<const int64_t> send_rows, const Tensor& recv,
                             std::span<const int64_t> recv_rows) = 0;
  virtual WorkPtr all_gather(const Call& call, const Tensor& send, const Tensor& recv,
                             std::span<const int64_t> recv_rows) = 0;
  virtual WorkPtr broadcast(const Call& call, const Tensor& tensor, int root) = 0;
  virtual WorkPtr send(const Call& call, const Tensor& tensor, int to) = 0;
  virtual WorkPtr recv(const Call& call, const Tensor& tensor, int from) = 0;
  virtual WorkPtr barrier(const Call& call) = 0;

 protected:
  std::shared_ptr<CommState> state_;

 private:
  int rank_;
  std::string name_;
  std::vector<int> world_ranks_;
  int64_t sequence_ = 0;
};

}  // namespace orthant
