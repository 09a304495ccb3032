// SPDX-License-Identifier: Apache-2.0
#include "trainer/device.h"

#include <algorithm>
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
  backend_on(device);
  return device;
}

std::string why_not_everywhere(const Group& group, const std::string& why_not) {
  const std::vector<std::string> reasons = group.gather_text(why_not);
  const auto first = std::find_if(reasons.begin(), reasons.end(),
                                  [](const std::string& reason) { return !reason.empty(); });
  if (first == reasons.end()) return "";
  return group.size() == 1 ? *first : concat("rank ", first - reasons.begin(), ": ", *first);
}

}  // namespace orthant
