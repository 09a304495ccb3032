// SPDX-License-Identifier: Apache-2.0
#include "launch/run_file.h"

#include "base/error.h"
#include "launch/config_visitors.h"

namespace orthant {

RunFile load_run_file(const std::string& path, const std::vector<std::string>& overrides,
                      int world_size) {
  RunFile file;
  const LoadedConfig loaded =
      load_config(path, overrides, [&](FieldVisitor& v) { file.config.fields(v); });
  file.notes = loaded.notes;
  try {
    file.config.resolve(world_size);
  } catch (const Error& error) {
    throw Error(error.kind(),
                concat(path, overrides.empty() ? "" : " with the command line's values", ": ",
                       error.what()));
  }
  ORTHANT_CHECK(file.config.device != "cuda", kDevice, loaded.where("device"),
                ": cuda: this build has no CUDA backend; use device: cpu");
  if (file.config.device == "auto") {
    file.config.device = "cpu";
    file.notes.push_back("device: auto: no CUDA backend, using the CPU");
  }
  file.yaml = dump_run_config(file.config);
  return file;
}

std::string dump_run_config(RunConfig config) {
  return dump_config([&](FieldVisitor& v) { config.fields(v); });
}

}  // namespace orthant
