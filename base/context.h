// SPDX-License-Identifier: Apache-2.0
// What belongs to one rank: its identity, its threads, its memory ledger, its fail points.
//
// Ranks may be threads of one process (tests), so this is no process-wide state: each rank thread
// installs its context with a ContextScope, and hands it to its helper threads, which install it in
// turn.
#pragma once

#include <memory>
#include <string>

#include "base/ledger.h"

namespace orthant {

struct RankContext {
  int rank = 0;
  int world_size = 1;
  std::string label = "r0";  // how log lines and errors name this rank, for example "r3 dp1"
  int num_threads = 1;       // compute threads of this rank
  bool any_order = false;    // devices may add in any order: run.determinism is none
  std::shared_ptr<Ledger> ledger = std::make_shared<Ledger>();
  MemoryCategory category = MemoryCategory::kActivations;  // what new storage counts as
  // Called at named points of a step when fail points are allowed (tests only); empty otherwise.
  std::string failpoint;
};

// The calling thread's context; a process-wide default one (rank 0 of 1, all allowed threads) when
// none is installed.
RankContext& context();

// Installs `context` for the calling thread until the scope ends.  The context must outlive the
// scope.
class ContextScope {
 public:
  explicit ContextScope(RankContext& context);
  ~ContextScope();
  ContextScope(const ContextScope&) = delete;
  ContextScope& operator=(const ContextScope&) = delete;

 private:
  RankContext* previous_;
};

// New storage counts as `category` until the scope ends.
class CategoryScope {
 public:
  explicit CategoryScope(MemoryCategory category)
      : context_(context()), previous_(context_.category) {
    context_.category = category;
  }
  ~CategoryScope() { context_.category = previous_; }
  CategoryScope(const CategoryScope&) = delete;
  CategoryScope& operator=(const CategoryScope&) = delete;

 private:
  RankContext& context_;
  MemoryCategory previous_;
};

// Threads that this process may use: OMP_NUM_THREADS, else as many as it may keep processors busy
// (base/processors.h).
int default_num_threads();

// Fault injection for tests.  A spec reads "site:rank=R:step=S:action", action one of
// kill9|stop|throw|sleep=MS|nan. Does nothing unless context().failpoint names this site, rank and
// step; returns true where the caller has to act (nan).
bool failpoint(const char* site, int64_t step);

}  // namespace orthant
