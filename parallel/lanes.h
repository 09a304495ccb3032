// SPDX-License-Identifier: Apache-2.0
// How the gradients of a step's micro-batches are added up, so that every data-parallel size gives
// the same bits.
//
// The micro-batches of a step, numbered globally, are cut into L contiguous lanes, L the largest
// power of two that is at most `reduction_lanes` and divides their number.  Inside a lane gradients
// add in order into one buffer; lanes merge in one binary tree.  A rank whose lanes are a whole
// power of two of them (data-parallel size divides L) merges them by a binary counter over slots,
// and the tree over ranks (parallel/comm/group.h) goes on from there: the additions are the same
// whoever makes them.  Any other size adds a rank's micro-batches in order, as one lane: equal to
// tolerance only.
#pragma once

#include <cstdint>

namespace orthant {

struct LanePlan {
  int64_t micro_batches = 1;  // of this rank and step
  int64_t local_lanes = 1;    // a power of two that divides micro_batches
  int64_t slots = 1;          // buffers that the counter needs: log2(local_lanes) + 1
  bool layout_exact = true;   // the same bits for every data-parallel size that divides the lanes

  int64_t micro_batches_per_lane() const { return micro_batches / local_lanes; }
  // The slot that the n-th local micro-batch adds into: lanes that wait for their partner occupy
  // the lower ones.
  int64_t slot_of(int64_t micro_batch) const;
  bool starts_lane(int64_t micro_batch) const {
    return micro_batch % micro_batches_per_lane() == 0;
  }
  // After this micro-batch, how many times the topmost slot is added into the one below.
  int64_t merges_after(int64_t micro_batch) const;
};

// Error(kConfig) when data_parallel_size does not divide the step's micro-batches.
LanePlan plan_lanes(int64_t total_micro_batches, int64_t data_parallel_size,
                    int64_t reduction_lanes);

}  // namespace orthant
