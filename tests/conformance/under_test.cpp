// SPDX-License-Identifier: Apache-2.0
#include "tests/conformance/under_test.h"

#include <cstdlib>

#include "base/error.h"
#include "tensor/plugin.h"

namespace orthant::testing {
namespace {

bool has_device(const Backend& backend, std::string& why_not) {
  char error[512] = "";
  const BackendCall call{.stream = nullptr, .error = error, .error_size = sizeof(error)};
  int32_t count = 0;
  const bool usable =
      backend.device_count(&call, &count) == 0 && count > 0 && backend.use_device(&call, 0) == 0;
  if (!usable) why_not = concat(backend.name, " has no device here: ", error);
  return usable;
}

}  // namespace

std::vector<std::string> backends_under_test() {
  std::vector<std::string> names{"cpu", "cuda"};
  if (std::getenv("ORTHANT_CONFORMANCE_PLUGIN")) names.emplace_back("plugin");
  return names;
}

const Backend* backend_under_test(const std::string& name, std::string& why_not) {
  if (name == "cpu") return &cpu_backend();
  const Backend* backend = name == "plugin"
                               ? open_plugin(std::getenv("ORTHANT_CONFORMANCE_PLUGIN"), why_not)
                               : try_cuda_backend(why_not);
  return backend && has_device(*backend, why_not) ? backend : nullptr;
}

}  // namespace orthant::testing
