// SPDX-License-Identifier: Apache-2.0
// Which device this rank computes on.
#pragma once

#include <string>

#include "parallel/comm/group.h"
#include "tensor/device.h"

namespace orthant {

// This rank's number among the ranks of its machine: what the launcher says, else its world rank.
int local_rank();

// The device that a rank takes of `count`: ranks share them in turn.
inline Device nth_cuda_device(int local_rank, int count) {
  return {DeviceType::kCuda, local_rank % count};
}

// RunConfig::device, "cpu" or "cuda", as this rank's device; the calling thread's later calls go
// to it.  Error(kDevice) when there is none.
Device device_of(const std::string& name);

// What ranks agree on, each with the reason why it has no device, or "": the first rank's that has
// one, with its number; "" when all have a device.  Collective.
std::string why_not_everywhere(const Group& group, const std::string& why_not);

}  // namespace orthant
