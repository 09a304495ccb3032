// SPDX-License-Identifier: Apache-2.0
// The CPU passed off as one CUDA device that all ranks share, for any program: the plugin has the
// CPU's kernels in it, as a real one has its own.  What bench/gpu/run.sh rehearses with.
#include <cstdio>

#include "tensor/backend.h"

extern "C" const orthant::Backend* orthant_backend_v1(const orthant::BackendHost*) {
  static const orthant::Backend kTable = [] {
    orthant::Backend table = orthant::cpu_backend();
    table.name = "rehearsal";
    table.device_count = [](const orthant::BackendCall*, int32_t* count) { return *count = 1, 0; };
    table.describe_device = [](const orthant::BackendCall*, int32_t,
                               orthant::BackendDevice* device) {
      *device = {};
      std::snprintf(device->name, sizeof(device->name), "CPU in disguise");
      return 0;
    };
    return table;
  }();
  return &kTable;
}
