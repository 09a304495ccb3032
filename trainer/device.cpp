// SPDX-License-Identifier: Apache-2.0
#include "trainer/device.h"

#include <array>
#include <cstdlib>

#include "base/context.h"
#include "base/error.h"
#include "tensor/backend.h"

namespace orthant {

int local_rank() {
  for (const char* name : {"OMPI_COMM_WORLD_LOCAL_RANK", "MPI_LOCALRANKID", "SLURM_LOCALID"}) {
    if (const char* text = std::getenv(name)) return std::atoi(text);
  }
  return context().rank;
}

Device device_of(const std::string& name) {
  if (name == "cpu") return {};
  ORTHANT_CHECK(name == "cuda", kInternal, "device: want cpu or cuda, got ", name);
  const Backend& backend = backend_of(DeviceType::kCuda);
  std::array<char, 512> error{};
  const BackendCall call{.stream = nullptr, .error = error.data(), .error_size = error.size()};
  int32_t count = 0;
  const int status = backend.device_count(&call, &count);
  ORTHANT_CHECK(status == 0 && count > 0, kDevice, "device cuda: no usable device: ", error.data(),
                "; use device: cpu");
  const Device device = nth_cuda_device(local_rank(), count);
  ORTHANT_CHECK(backend.use_device(&call, device.index) == 0, kDevice, "device ", name_of(device),
                ": ", error.data());
  return device;
}

}  // namespace orthant
