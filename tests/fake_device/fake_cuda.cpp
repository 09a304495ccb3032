// SPDX-License-Identifier: Apache-2.0
// A plugin that passes the CPU's table off as that of two devices: what the program does with
// device tensors can be tested without one.  cpu_backend() is that of the program that opens it.
#include "tensor/backend.h"

extern "C" const orthant::Backend* orthant_backend_v1(const orthant::BackendHost*) {
  static const orthant::Backend kTable = [] {
    orthant::Backend table = orthant::cpu_backend();
    table.name = "fake";
    table.device_count = [](const orthant::BackendCall*, int32_t* count) { return *count = 2, 0; };
    return table;
  }();
  return &kTable;
}
