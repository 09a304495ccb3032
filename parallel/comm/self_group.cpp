// SPDX-License-Identifier: Apache-2.0
#include "parallel/comm/self_group.h"

#include "base/error.h"

namespace orthant {
namespace {

class SelfState : public CommState {
 public:
 protected:
  void wake_all(const std::string&) override {}  // nobody waits for this rank
  void idle(int64_t, double) override {}
};

class SelfGroup : public GroupImpl {
 public:
  using GroupImpl::GroupImpl;
  std::shared_ptr<GroupImpl> split(int, const std::vector<int>& members,
                                   const std::string& name) override {
    return members.empty() ? nullptr : make_self_group(state_, world_ranks().front(), name);
  }
  WorkPtr all_to_all(const Call& call, const Tensor&, std::span<const int64_t>, const Tensor&,
                     std::span<const int64_t>) override {
    unreachable(call);
  }
  WorkPtr all_gather(const Call& call, const Tensor&, const Tensor&,
                     std::span<const int64_t>) override {
    unreachable(call);
  }
  WorkPtr broadcast(const Call& call, const Tensor&, int) override { unreachable(call); }
  WorkPtr send(const Call& call, const Tensor&, int) override { unreachable(call); }
  WorkPtr recv(const Call& call, const Tensor&, int) override { unreachable(call); }
  WorkPtr barrier(const Call& call) override { unreachable(call); }

 private:
  [[noreturn]] void unreachable(const Call& call) const {
    throw_error(ErrorKind::kInternal,
                concat(call.op, " on group ", name(), ": a group of one has no peer"), call.site);
  }
};

}  // namespace

std::shared_ptr<GroupImpl> make_self_group(std::shared_ptr<CommState> state, int world_rank,
                                           const std::string& name) {
  if (!state) state = std::make_shared<SelfState>();
  return std::make_shared<SelfGroup>(std::move(state), 0, name, std::vector<int>{world_rank});
}

}  // namespace orthant
