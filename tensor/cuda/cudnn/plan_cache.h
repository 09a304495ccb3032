// SPDX-License-Identifier: Apache-2.0
// What was made once for a problem on a device: of all threads of the process.
#pragma once

#include <map>
#include <memory>
#include <mutex>
#include <utility>

#include "tensor/cuda/cudnn/problem.h"

namespace orthant::cuda::cudnn {

template <class Made>
class PlanCache {
 public:
  // make() at the first call with this key, null and all: what was refused once is not asked for
  // again.  Others wait while it is made; when it throws, nothing is kept.
  template <class Make>
  std::shared_ptr<const Made> get(int device, const AttentionProblem& problem, Make make) {
    const std::lock_guard lock(mutex_);
    const auto key = std::make_pair(device, problem);
    if (const auto found = made_.find(key); found != made_.end()) return found->second;
    if (made_.size() >= kMaxMade) made_.clear();  // lengths that differ from call to call
    return made_[key] = make();
  }

 private:
  static constexpr size_t kMaxMade = 256;
  std::mutex mutex_;
  std::map<std::pair<int, AttentionProblem>, std::shared_ptr<const Made>> made_;
};

}  // namespace orthant::cuda::cudnn
