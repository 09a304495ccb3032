// SPDX-License-Identifier: Apache-2.0
#include "parallel/lanes.h"

#include <bit>

#include "base/error.h"

namespace orthant {

int64_t LanePlan::slot_of(int64_t micro_batch) const {
  const int64_t lane = micro_batch / micro_batches_per_lane();
  return std::popcount(static_cast<uint64_t>(lane));
}

int64_t LanePlan::merges_after(int64_t micro_batch) const {
  const int64_t per_lane = micro_batches_per_lane();
  if ((micro_batch + 1) % per_lane != 0) return 0;
  const int64_t lane = micro_batch / per_lane;
  return std::countr_one(static_cast<uint64_t>(lane));
}

LanePlan plan_lanes(int64_t total, int64_t data_parallel_size, int64_t reduction_lanes) {
  ORTHANT_CHECK(total % data_parallel_size == 0, kConfig, "batch: a step has ", total,
                " micro-batches, which ", data_parallel_size,
                " data-parallel ranks cannot share evenly");
  int64_t lanes = 1;
  while (lanes * 2 <= reduction_lanes && total % (lanes * 2) == 0) lanes *= 2;
  LanePlan plan;
  plan.micro_batches = total / data_parallel_size;
  plan.layout_exact = lanes % data_parallel_size == 0;
  plan.local_lanes = plan.layout_exact ? lanes / data_parallel_size : 1;
  plan.slots = std::countr_zero(static_cast<uint64_t>(plan.local_lanes)) + 1;
  return plan;
}

}  // namespace orthant
