// SPDX-License-Identifier: Apache-2.0
#include "launch/run_file.h"

#include "base/config/config.h"
#include "base/error.h"
#include "tensor/plugin.h"
#include "trainer/device.h"

namespace orthant {

RunFile load_run_file(const std::string& path, const std::vector<std::string>& overrides,
                      const Group& group, int world_size) {
  const auto [config, source] = load_config<RunConfig>(path, overrides);
  RunFile file{.config = config, .yaml = "", .notes = source.notes};
  try {
    file.config = config.resolved(world_size > 0 ? world_size : config.parallel.least_ranks());
  } catch (const Error& error) {
    throw Error(error.kind(),
                concat(path, overrides.empty() ? "" : " with the command line's values", ": ",
                       error.what()));
  }
  if (file.config.device != "cpu") {  // a run on the CPU never opens the plugin
    std::string why_not_here;
    if (try_cuda_backend(why_not_here)) why_not_here.clear();
    const std::string why_not = why_not_everywhere(group, why_not_here);
    const bool is_usable = why_not.empty();
    const bool is_auto = file.config.device == "auto";
    ORTHANT_CHECK(is_usable || is_auto, kDevice, source.where("device"), ": cuda: ", why_not,
                  "; use device: cpu");
    file.config.device = is_usable ? "cuda" : "cpu";
    if (is_auto)
      file.notes.push_back(is_usable ? "device: auto: using cuda"
                                     : concat("device: auto: using the CPU: ", why_not));
    if (is_usable)
      file.notes.push_back(
          "device: cuda: this backend has not been proved on hardware yet; check it with "
          "bin/conformance_test --gtest_filter='*cuda*' (docs/backends.md)");
  }
  file.yaml = file.config.yaml();
  return file;
}

}  // namespace orthant
