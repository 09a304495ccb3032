// SPDX-License-Identifier: Apache-2.0
#include "launch/run_file.h"

#include <algorithm>
#include <filesystem>

#include "base/config/config.h"
#include "base/error.h"
#include "tensor/plugin.h"
#include "trainer/base_model.h"
#include "trainer/device.h"
#include "trainer/run/run_dir.h"

namespace orthant {
namespace {

// The config.yaml of a run directory speaks of that directory, wherever it was copied or moved to.
void settle_own_directory(const std::string& path, const std::vector<std::string>& overrides,
                          RunConfig& config, std::vector<std::string>& notes) {
  namespace fs = std::filesystem;
  const fs::path file(path);
  const fs::path own = file.has_parent_path() ? file.parent_path() : fs::path(".");
  const bool is_of_a_run =
      file.filename() == "config.yaml" && fs::is_directory(RunPaths{own}.checkpoints());
  const auto names_directory = [](const std::string& text) {
    return text.starts_with("run.dir=") || text.starts_with("run.output_dir=");
  };
  if (!is_of_a_run || std::any_of(overrides.begin(), overrides.end(), names_directory)) return;
  const std::string named = config.run.dir.empty() ? "runs/" + config.run.name : config.run.dir;
  std::error_code error;
  if (fs::equivalent(named, own, error)) return;
  notes.push_back(concat("run.dir: ", path, " was copied or moved, it says ", named, ": using ",
                         own.string(), "; give run.dir for another"));
  config.run.dir = own;
}

RunPlan plan_of(const RunConfig& config, int ranks, const std::string& path, bool overridden) {
  try {
    return RunPlan(config, ranks);
  } catch (const Error& error) {
    throw Error(error.kind(), concat(path, overridden ? " with the command line's values" : "",
                                     ": ", error.what()));
  }
}

// Of "auto" or "cuda".  A run on the CPU never opens the plugin.
std::string usable_device(const std::string& wanted, const std::string& where, const Group& group,
                          std::vector<std::string>& notes) {
  std::string why_not_here;
  if (try_cuda_backend(why_not_here)) why_not_here.clear();
  const std::string why_not = why_not_everywhere(group, why_not_here);
  const bool is_usable = why_not.empty();
  const bool is_auto = wanted == "auto";
  ORTHANT_CHECK(is_usable || is_auto, kDevice, where, ": cuda: ", why_not, "; use device: cpu");
  if (is_auto)
    notes.push_back(is_usable ? "device: auto: using cuda"
                              : concat("device: auto: using the CPU: ", why_not));
  if (is_usable)
    notes.push_back(
        "device: cuda: this backend has not been proved on hardware yet; check it with "
        "bin/conformance_test --gtest_filter='*cuda*' (docs/backends.md)");
  return is_usable ? "cuda" : "cpu";
}

RunFile run_file_of(RunConfig config, const ConfigSource& source, const std::string& path,
                    const std::vector<std::string>& overrides, const Group& group, int world_size) {
  std::vector<std::string> notes = source.notes;
  settle_own_directory(path, overrides, config, notes);
  const int ranks = world_size > 0 ? world_size : config.parallel.least_ranks();
  RunPlan plan = plan_of(config, ranks, path, !overrides.empty());
  if (config.device == "cpu") return {std::move(plan), std::move(notes)};
  config.device = usable_device(config.device, source.where("device"), group, notes);
  return {RunPlan(config, ranks), std::move(notes)};
}

}  // namespace

RunFile load_run_file(const std::string& path, const std::vector<std::string>& overrides,
                      const Group& group, int world_size) {
  const LoadedConfig<RunConfig> loaded = load_run_config(path, overrides);
  return run_file_of(loaded.config, loaded.source, path, overrides, group, world_size);
}

FinetuneFile load_finetune_file(const std::string& path, const std::vector<std::string>& overrides,
                                const Group& group, int world_size) {
  LoadedConfig<FinetuneConfig> loaded = load_finetune_config(path, overrides);
  const bool has_both = loaded.config.finetune.epochs > 0 && loaded.config.run.max_steps > 0;
  if (has_both) {  // as a run's own configuration has
    loaded.config.finetune.epochs = 0;
  } else if (loaded.config.finetune.epochs > 0) {
    loaded.config.run.max_steps = 1;  // until the data is read
  }
  FinetuneFile file = {
      run_file_of(loaded.config, loaded.source, path, overrides, group, world_size), loaded.config};
  if (has_both)
    file.run.notes.push_back(
        "run.max_steps says when the run ends, not finetune.epochs; run.max_steps=0 would leave it "
        "to that");
  return file;
}

}  // namespace orthant
