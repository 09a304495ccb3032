// SPDX-License-Identifier: Apache-2.0
// A group whose members exchange tensors of their devices directly (BackendComm,
// tensor/backend.h); tensors in host memory, and everything small, go through a host group of the
// same members.
//
// Every operation on device tensors has a twin: each pair of ranks also exchanges a header over the
// host group.  So a rank that waits knows who is missing, and sizes that do not fit are found,
// although the device's messages carry neither names nor sizes.
//
// (D1) Messages of a communicator are matched by their order, so operations are posted in the order
//      of their sequence numbers: the first phase of a later sum waits until the second phase of an
//      earlier one has been posted.
// (D2) send and recv have a communicator for each direction between two ranks, made when it is
//      first used: a send that waits for its receiver holds up nothing else.
#pragma once

#include <memory>

#include "parallel/comm/group_impl.h"

namespace orthant {

// Connects the devices of a host group's members: collective over them.  `device` is this rank's
// and the calling thread's.  Groups that are split from it are connected at once.  Error(kComm).
std::shared_ptr<GroupImpl> make_device_group(std::shared_ptr<GroupImpl> host, Device device,
                                             const Site& site = Site::current());

}  // namespace orthant
