// SPDX-License-Identifier: Apache-2.0
// An operation of two phases: when the first is done, `next` runs and may start the second.
#pragma once

#include <functional>
#include <memory>
#include <utility>
#include <vector>

#include "parallel/comm/group_impl.h"

namespace orthant {

class ChainWork : public WorkImpl {
 public:
  using WorkPtr = std::shared_ptr<WorkImpl>;
  // next returns the second phase, or null when there is none.
  ChainWork(std::shared_ptr<GroupImpl> group, const Call& call, WorkPtr first,
            std::function<WorkPtr()> next)
      : WorkImpl(std::move(group), call, {}), phase_(std::move(first)), next_(std::move(next)) {}

  std::vector<int> missing() const override {
    return phase_ ? phase_->missing() : std::vector<int>();
  }
  void diagnose() override {
    if (phase_) phase_->diagnose();
  }
  std::string advice() const override { return phase_ ? phase_->advice() : WorkImpl::advice(); }
  void give_up() override {
    if (phase_) phase_->give_up();
    WorkImpl::give_up();
  }

 protected:
  bool advance() override {
    if (!phase_->test()) return false;
    if (next_) {
      const std::function<WorkPtr()> next = std::exchange(next_, nullptr);
      phase_ = next();
    } else {
      phase_ = nullptr;
    }
    if (phase_ && !phase_->test()) return false;
    phase_ = nullptr;
    return true;
  }

 private:
  WorkPtr phase_;
  std::function<WorkPtr()> next_;
};

}  // namespace orthant
