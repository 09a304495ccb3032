// SPDX-License-Identifier: Apache-2.0
// Inside the fake plugin.
#pragma once

#include "tensor/backend.h"

namespace orthant::testing {

int fail(const BackendCall* call, const char* what);
int current_device();  // of the calling thread
// The device that an address belongs to; -1 for none.
int device_of_address(const void* address);
const BackendComm& fake_comm();

}  // namespace orthant::testing
