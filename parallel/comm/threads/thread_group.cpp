// SPDX-License-Identifier: Apache-2.0
#include <chrono>
#include <cstring>
#include <utility>

#include "base/clock.h"
#include "base/context.h"
#include "base/error.h"
#include "parallel/comm/self_group.h"
#include "parallel/comm/threads/thread_world.h"

namespace orthant {
namespace {

class ThreadState : public CommState {
 public:
  ThreadState(std::shared_ptr<ThreadWorld> world, int rank)
      : world_(std::move(world)), rank_(rank), inbox_(world_->inbox(rank)) {}
  void check_alive() override { world_->check_alive(); }
  ThreadWorld& world() { return *world_; }

 protected:
  void wake_all(const std::string& reason) override { world_->abort(rank_, reason); }
  // Whatever arrives between two calls makes the second return at once, so nothing is slept over.
  void idle(int64_t, double until) override {
    std::unique_lock lock(inbox_.mutex);
    inbox_.changed.wait_for(lock, std::chrono::duration<double>(until - now_seconds()),
                            [&] { return inbox_.version != seen_; });
    seen_ = inbox_.version;
  }

 private:
  std::shared_ptr<ThreadWorld> world_;
  int rank_;
  Inbox& inbox_;
  int64_t seen_ = 0;
};

class ThreadGroup;

// Waits for the messages of one operation; what was sent needs no waiting.
class ReceiveWork : public WorkImpl {
 public:
  ReceiveWork(std::shared_ptr<GroupImpl> group, ThreadWorld& world, int group_id, const Call& call,
              std::vector<Part> recvs, std::vector<Tensor> keep)
      : WorkImpl(std::move(group), call, std::move(keep)),
        world_(world),
        group_id_(group_id),
        recvs_(std::move(recvs)) {}

  std::vector<int> missing() const override {
    std::vector<int> ranks;
    for (const Part& part : recvs_) ranks.push_back(group_->world_rank(part.peer));
    return ranks;
  }

 protected:
  bool advance() override {
    if (recvs_.empty()) return true;
    const int gone = first_gone();
    std::vector<std::pair<Part, Message>> arrived = take_arrived();
    for (const auto& [part, message] : arrived) accept(part, message);
    if (recvs_.empty()) return true;
    world_.check_alive();
    ORTHANT_CHECK(gone < 0 || !is_missing(gone), kComm, call_.op, " on group ", group_->name(),
                  " at ", text_of(call_.site), ": rank ", gone,
                  " has ended without taking part (sequence ", call_.sequence, ")");
    return false;
  }

 private:
  // A rank that had left before the inbox was looked at cannot have a message under way.
  int first_gone() const {
    for (const Part& part : recvs_) {
      const int rank = group_->world_rank(part.peer);
      if (world_.has_left(rank)) return rank;
    }
    return -1;
  }

  bool is_missing(int world_rank) const {
    for (const Part& part : recvs_) {
      if (group_->world_rank(part.peer) == world_rank) return true;
    }
    return false;
  }

  std::vector<std::pair<Part, Message>> take_arrived() {
    std::vector<std::pair<Part, Message>> arrived;
    Inbox& inbox = world_.inbox(group_->world_rank(group_->rank()));
    const std::lock_guard lock(inbox.mutex);
    std::erase_if(recvs_, [&](const Part& part) {
      auto node = inbox.messages.extract(
          MessageKey{group_id_, part.peer, call_.kind != OpKind::kSendRecv, call_.sequence});
      if (node.empty()) return false;
      arrived.emplace_back(part, std::move(node.mapped()));
      return true;
    });
    return arrived;
  }

  void accept(const Part& part, const Message& message) const {
    const Call& theirs = message.call;
    const bool same = theirs.kind == call_.kind && theirs.dtype == call_.dtype &&
                      message.bytes == part.bytes &&
                      (call_.kind == OpKind::kSendRecv || std::strcmp(theirs.op, call_.op) == 0);
    if (!same) throw_mismatch(part, message);
    if (part.bytes == 0) return;
    std::memcpy(part.data, static_cast<const char*>(message.block.data()) + message.offset,
                static_cast<size_t>(part.bytes));
  }

  [[noreturn]] void throw_mismatch(const Part& part, const Message& message) const {
    const Call& theirs = message.call;
    throw_error(ErrorKind::kComm,
                concat("ranks of group ", group_->name(), " disagree on operation ", call_.sequence,
                       ": ", call_.op, " at ", text_of(call_.site), " on rank ",
                       group_->world_rank(group_->rank()), " wants ", part.bytes, " bytes of ",
                       name_of(call_.dtype), ", ", theirs.op, " at ", text_of(theirs.site),
                       " on rank ", group_->world_rank(part.peer), " sends ", message.bytes,
                       " bytes of ", name_of(theirs.dtype)),
                call_.site);
  }

  ThreadWorld& world_;
  int group_id_;
  std::vector<Part> recvs_;  // not arrived yet
};

class ThreadGroup : public HostGroup {
 public:
  ThreadGroup(std::shared_ptr<ThreadState> state, int id, int rank, const std::string& name,
              std::vector<int> world_ranks)
      : HostGroup(state, rank, name, std::move(world_ranks)),
        world_(state->world()),
        thread_state_(std::move(state)),
        id_(id) {}

  std::shared_ptr<GroupImpl> split(int color, const std::vector<int>& members,
                                   const std::string& name) override {
    const int64_t split = num_splits_++;
    if (members.empty()) return nullptr;
    std::vector<int> world_ranks;
    int new_rank = 0;
    for (const int member : members) {
      if (member == rank()) new_rank = static_cast<int>(world_ranks.size());
      world_ranks.push_back(world_rank(member));
    }
    if (members.size() == 1) return make_self_group(state_, world_ranks[0], name);
    return std::make_shared<ThreadGroup>(thread_state_, world_.group_id(id_, split, color),
                                         new_rank, name, std::move(world_ranks));
  }

 protected:
  WorkPtr post(Exchange exchange) override {
    world_.check_alive();
    send_all(exchange);
    return std::make_shared<ReceiveWork>(shared_from_this(), world_, id_, exchange.call,
                                         std::move(exchange.recvs), std::move(exchange.keep));
  }

 private:
  // One block for everything that this operation sends; what goes to several peers is in it once.
  void send_all(const Exchange& exchange) {
    const char* previous = nullptr;
    int64_t total = 0, offset = 0;
    for (const Part& part : exchange.sends) {
      if (part.bytes == 0 || part.data == previous) continue;
      total += part.bytes;
      previous = part.data;
    }
    Tensor block;
    if (total > 0) {
      const CategoryScope scope(MemoryCategory::kCommunication);
      block = Tensor::empty({total}, DType::kU8);
    }
    const MessageKey key{id_, rank(), exchange.call.kind != OpKind::kSendRecv,
                         exchange.call.sequence};
    previous = nullptr;
    int64_t end = 0;
    for (const Part& part : exchange.sends) {
      if (part.bytes > 0 && part.data != previous) {
        offset = end;
        end += part.bytes;
        std::memcpy(static_cast<char*>(block.data()) + offset, part.data,
                    static_cast<size_t>(part.bytes));
        previous = part.data;
      }
      world_.deliver(world_rank(part.peer), key,
                     {exchange.call, part.bytes > 0 ? block : Tensor(), offset, part.bytes});
    }
  }

  ThreadWorld& world_;
  std::shared_ptr<ThreadState> thread_state_;
  int id_;
  int64_t num_splits_ = 0;
};

}  // namespace

std::shared_ptr<GroupImpl> make_thread_group(std::shared_ptr<ThreadWorld> world, int rank,
                                             double deadline_seconds) {
  std::vector<int> world_ranks;
  for (int r = 0; r < world->size(); ++r) world_ranks.push_back(r);
  auto state = std::make_shared<ThreadState>(world, rank);
  state->deadline_seconds = deadline_seconds;
  if (world->size() == 1) return make_self_group(std::move(state), 0, "world");
  return std::make_shared<ThreadGroup>(std::move(state), 0, rank, "world", std::move(world_ranks));
}

}  // namespace orthant
