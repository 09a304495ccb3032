// SPDX-License-Identifier: Apache-2.0
// How tensors of devices travel between ranks: directly, or through copies in host memory.
#pragma once

#include <string>
#include <vector>

#include "parallel/comm/group.h"
#include "parallel/config.h"

namespace orthant {

// What a rank says about itself.
struct RankDevice {
  std::string host;
  std::string uuid;     // of its device
  std::string host_id;  // NCCL_HOSTID: ranks with different ones may share a device
  bool has_comm = false;
};

struct Transport {
  bool is_direct = false;
  std::string why;  // "ranks 0 and 1 share the device GPU-1"
};

// By rank.  Error(kConfig) when
// nccl is wanted and two ranks share a device, Error(kDevice) when the backend has no comm.
Transport choose_transport(const std::vector<RankDevice>& ranks, DeviceTransport wanted);

// The same group, or one of the same members that moves tensors of `device`, this rank's, directly.
// Rank 0 logs what was chosen.  Collective; nothing is done for a group of one or on the CPU.
Group connect_devices(const Group& group, Device device, DeviceTransport wanted);

}  // namespace orthant
