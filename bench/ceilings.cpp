// SPDX-License-Identifier: Apache-2.0
#include "bench/ceilings.h"

#include <algorithm>
#include <string_view>

#include "base/clock.h"
#include "tensor/cpu/isa.h"
#include "tensor/ops/call.h"
#include "trainer/throughput.h"

namespace orthant {
namespace {

// 1e12 operations a second without sparsity, f32 and f64 without TF32's rounding; GB/s.
struct DataSheet {
  std::string_view name;  // part of what the driver says
  double bf16, f32, f64, bandwidth;
};
constexpr DataSheet kDataSheets[] = {{"H200", 989, 67, 67, 4800},
                                     {"H100 80GB HBM3", 989, 67, 67, 3350},
                                     {"A100-SXM4-80GB", 312, 19.5, 19.5, 2039},
                                     {"A100-SXM4-40GB", 312, 19.5, 19.5, 1555}};

std::string name_of_cuda_device(Device device) {
  const Backend& backend = backend_of(device.type);
  BackendDevice description{};
  const BackendCall call{};
  return backend.describe_device(&call, device.index, &description) == 0 ? description.name : "";
}

double host_copy_bandwidth() {
  const Tensor a = Tensor::zeros({64 << 20}, DType::kF32),
               b = Tensor::zeros({64 << 20}, DType::kF32);
  double best = 1e9;
  for (int i = 0; i < 5; ++i) {
    const double begin = now_seconds();
    ops::call(&Backend::scale, "scale", {&a, &b}, ScaleArgs{ops::view_of(a), ops::view_of(b), 1.0});
    best = std::min(best, now_seconds() - begin);
  }
  return 2.0 * static_cast<double>(a.bytes()) / best;
}

}  // namespace

Ceilings ceilings_of(Device device, DType dtype) {
  if (device.type == DeviceType::kCpu) {
    return {std::string(cpu::name_of(cpu::active_isa())), measure_product_rate(dtype),
            host_copy_bandwidth()};
  }
  Ceilings ceilings{.device = name_of_cuda_device(device)};
  for (const DataSheet& sheet : kDataSheets) {
    if (ceilings.device.find(sheet.name) == std::string::npos) continue;
    const double tera = dtype == DType::kBF16  ? sheet.bf16
                        : dtype == DType::kF32 ? sheet.f32
                                               : sheet.f64;
    ceilings.flops = tera * 1e12;
    ceilings.bandwidth = sheet.bandwidth * 1e9;
    break;
  }
  return ceilings;
}

}  // namespace orthant
