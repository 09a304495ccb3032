// SPDX-License-Identifier: Apache-2.0
#include "trainer/saved_model.h"

#include <unistd.h>

#include "base/config/config.h"
#include "base/error.h"
#include "base/log.h"
#include "checkpoint/reader.h"
#include "tensor/plugin.h"
#include "trainer/device.h"
#include "trainer/hub/hub_folder.h"
#include "trainer/run/run_dir.h"
#include "trainer/training_state.h"

namespace orthant {
namespace {

RunConfig config_of(const Manifest& manifest, const std::string& precision) {
  const std::vector<std::string> overrides =
      precision.empty() ? std::vector<std::string>{} : std::vector{"precision=" + precision};
  return parse_config<RunConfig>(manifest.configuration,
                                 manifest.directory + "/manifest.json: configuration", overrides)
      .config;
}

RunPaths paths_of(const Manifest& manifest) {
  return {manifest.directory + "/../.."};  // RUN/checkpoints/step-...
}

// A checkpoint is not tied to the device that it was trained on.
Device device_for(const std::string& command, const RunConfig& config) {
  std::string why_not;
  if (config.device != "cuda" || try_cuda_backend(why_not)) return device_of(config.device);
  log::info(concat(command, ": device cuda: ", why_not, "; using the CPU"));
  return {};
}

}  // namespace

std::unique_ptr<Tokenizer> saved_tokenizer(const Manifest& manifest, const RunConfig& config) {
  const auto name = manifest.extra.find("tokenizer");
  if (name == manifest.extra.end() || name->second.find(':') == std::string::npos)
    return make_tokenizer(config.data.tokenizer);
  const bool is_json = name->second.starts_with("tokenizer.json:");
  const std::string path = paths_of(manifest).file(is_json ? "tokenizer.json" : "tokenizer.model");
  std::unique_ptr<Tokenizer> tokenizer = make_tokenizer(path);
  ORTHANT_CHECK(tokenizer->name() == name->second, kData, path, ": is '", tokenizer->name(),
                "', but ", manifest.directory, " was trained with '", name->second, "'");
  return tokenizer;
}

std::string find_checkpoint(const std::string& command, const std::string& path) {
  ORTHANT_CHECK(access(path.c_str(), R_OK) == 0, kMissingInput, command, ": ", path,
                " does not exist; want a run directory, such as runs/quickstart");
  if (access((path + "/manifest.json").c_str(), R_OK) == 0) return path;
  const std::string directory = path + "/checkpoints";
  std::optional<Manifest> newest;
  if (access(directory.c_str(), R_OK) == 0) newest = find_newest_valid(Group::self(), directory);
  ORTHANT_CHECK(newest.has_value(), kMissingInput, command, ": ", path,
                " has no checkpoint; want a run directory in which orthant pretrain has saved one, "
                "or one of its checkpoints");
  return newest->directory;
}

SavedModel load_saved_model(const std::string& command, const std::string& path,
                            const std::string& precision) {
  SavedModel saved{.manifest = read_manifest(find_checkpoint(command, path))};
  saved.config = config_of(saved.manifest, precision);
  saved.store = std::make_unique<ParameterStore>();
  saved.model =
      std::make_unique<Transformer>(TransformerOptions{.config = saved.config.model,
                                                       .moe = saved.config.moe,
                                                       .dtype = saved.config.precision,
                                                       .device = device_for(command, saved.config)},
                                    *saved.store);
  const std::vector<CheckpointTensor> weights = weight_tensors(*saved.store, saved.manifest);
  load_tensors(Group::self(), saved.manifest, weights,
               {.unused_prefixes = {kOptimizerPrefix, kHubExtraPrefix}});
  set_weights(*saved.store, weights);
  saved.tokenizer = saved_tokenizer(saved.manifest, saved.config);
  saved.end_ids = end_ids_of(paths_of(saved.manifest).hub(), saved.config.model.vocab_size);
  if (const auto bos = saved.manifest.extra.find(kBeginKey); bos != saved.manifest.extra.end()) {
    const int32_t token = saved.tokenizer->special_ids().bos;
    ORTHANT_CHECK(token >= 0 && bos->second == std::to_string(token), kData,
                  saved.manifest.directory, ": texts begin with token ", bos->second,
                  ", and the tokenizer's first token is ", token);
    saved.begin = {token};
  }
  return saved;
}

}  // namespace orthant
