// SPDX-License-Identifier: Apache-2.0
// From a YAML file and overrides to a resolved run description.
#pragma once

#include <string>
#include <vector>

#include "trainer/run_config.h"

namespace orthant {

struct RunFile {
  RunConfig config;
  std::string yaml;                // the resolved configuration
  std::vector<std::string> notes;  // aliases that were used, a device that was chosen
};

// Error(kConfig), kMissingInput; kDevice when device: cuda is asked for and not there.
RunFile load_run_file(const std::string& path, const std::vector<std::string>& overrides,
                      int world_size);
std::string dump_run_config(RunConfig config);

}  // namespace orthant
