// SPDX-License-Identifier: Apache-2.0
// Where weight gradients go: lane buffers, in buckets that are reduced over ranks while backward
// still runs.
//
// Invariants:
//  (I1) A parameter gets exactly one gradient per micro-batch; lane and micro-batch are counted per
//  parameter. (I2) Slot s of a parameter's bucket holds the sum of 2^k finished lanes, or the lane
//  that is being added up (parallel/lanes.h). (I3) A bucket is reduced when each of its parameters
//  has closed its last lane; buckets are issued in one fixed order
//       on every rank, whatever order they become ready in.
#pragma once

#include <functional>
#include <memory>
#include <vector>

#include "base/function_ref.h"
#include "parallel/comm/group.h"
#include "parallel/lanes.h"
#include "parallel/parameter.h"

namespace orthant {

class GradientBuffers {
 public:
  struct Groups {
    Group dense;   // ranks that hold the same dense parameters: data x context
    Group expert;  // ranks that hold the same experts
  };
  // Buckets hold parameters in reverse order of the store (the order in which backward reaches
  // them).
  GradientBuffers(ParameterStore& store, Groups groups, const LanePlan& lanes,
                  int64_t bucket_bytes = 8 << 20);
  ~GradientBuffers();
  GradientBuffers(const GradientBuffers&) = delete;
  GradientBuffers& operator=(const GradientBuffers&) = delete;

  void begin_step();
  // Called by Parameter::add_gradient.
  void add(int index, FunctionRef<void(const Tensor&, bool)> write);
  // Moves pending reductions on; called between closures.
  void poll();
  // Waits for all reductions.  Error(kInternal) naming a parameter that did not get all its
  // gradients.
  void finish_step();
  // The sum over the step's micro-batches of all ranks, in the shape of the parameter; valid after
  // finish_step().
  Tensor sum_of(const Parameter& parameter) const;

 private:
  struct Bucket;
  struct Entry;
  void issue_ready_buckets();

  ParameterStore& store_;
  Groups groups_;
  LanePlan lanes_;
  std::vector<Entry> entries_;  // by position in the store
  std::vector<std::unique_ptr<Bucket>> buckets_;
  size_t next_bucket_ = 0;  // first one that was not issued yet
};

}  // namespace orthant
