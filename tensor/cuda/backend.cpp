// SPDX-License-Identifier: Apache-2.0
// The table of the CUDA plugin, and its entry.
#include "tensor/backend.h"

#include <cstdlib>

#include "tensor/cuda/cudnn/attention.h"
#include "tensor/cuda/device.h"
#include "tensor/cuda/kernels/kernels.h"
#include "tensor/cuda/report.h"

namespace orthant::cuda {
namespace {

Backend make_table() {
  Backend table{};
  table.version = kBackendVersion;
  table.name = "cuda";
  table.libraries = library_versions();
  table.device_count = device_count;
  table.describe_device = describe_device;
  table.use_device = use_device;
  fill_memory(table);
  // cuBLASLt reads weights as they are.
  table.prepare = [](const BackendCall*, const View*, WeightForm, void** prepared) {
    *prepared = nullptr;
    return 0;
  };
  table.release = [](void*) {};
  table.prepared_bytes = [](const void*) { return int64_t{0}; };
  fill_kernels(table);
  fill_matmul(table);
  table.comm = &communication();
  cudnn::fill_attention(table);
  report_errors(table, current_device);
  return table;
}

}  // namespace
}  // namespace orthant::cuda

extern "C" __attribute__((visibility("default"))) const orthant::Backend* orthant_backend_v1(
    const orthant::BackendHost* host) {
  orthant::cuda::set_host(host);
  // Each communicator has a stream of its own, and none may wait behind another's in a hardware
  // queue; the driver reads this when the first device is opened.
  setenv("CUDA_DEVICE_MAX_CONNECTIONS", "32", /*overwrite=*/0);
  static const orthant::Backend table = orthant::cuda::make_table();
  return &table;
}
