// SPDX-License-Identifier: Apache-2.0
#include "trainer/saved_model.h"

#include <unistd.h>

#include <algorithm>

#include "base/checksum.h"
#include "base/config/config.h"
#include "base/error.h"
#include "base/log.h"
#include "checkpoint/file_io.h"
#include "checkpoint/reader.h"
#include "parallel/comm/transport.h"
#include "tensor/plugin.h"
#include "trainer/adapters.h"
#include "trainer/device.h"
#include "trainer/finetune_config.h"
#include "trainer/hub/hub_folder.h"
#include "trainer/hub/stored_adapter.h"
#include "trainer/run/run_dir.h"
#include "trainer/run_plan.h"
#include "trainer/training_state.h"
#include "trainer/weight_source.h"

namespace orthant {
namespace {

// The run's layout is not this model's.
RunConfig config_of(const std::string& command, const Manifest& manifest,
                    const SavedModelOptions& options) {
  const std::string where = manifest.directory + "/manifest.json: configuration";
  RunConfig config = parse_any_run_config(manifest.configuration, where);
  config.parallel = {};
  config.model.num_nextn_predict_layers = 0;  // which training alone computes with
  std::vector<std::string> overrides = options.overrides;
  for (const std::string& one : overrides)
    ORTHANT_CHECK(one.starts_with("parallel."), kConfig, command, ": ", one,
                  ": want parallel.KEY=VALUE, how the ranks share the model");
  if (!options.precision.empty()) overrides.push_back("precision=" + options.precision);
  return parse_config<RunConfig>(to_yaml(config), where, overrides).config;
}

RunPaths paths_of(const Manifest& manifest) { return run_of_checkpoint(manifest.directory); }

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

int64_t adapter_number(const SavedModel& model, const std::string& name, const std::string& where,
                       ErrorKind kind) {
  if (name.empty()) return -1;
  std::string known;
  for (size_t i = 0; i < model.adapters.size(); ++i) {
    if (model.adapters[i].name == name) return static_cast<int64_t>(i);
    known += " " + model.adapters[i].name;
  }
  throw_error(kind, concat(where, ": want an adapter that --adapter NAME=DIR gives (",
                           model.has_named_adapters() ? "here:" + known : "there is none",
                           "), got ", name));
}

std::string find_checkpoint(const std::string& command, const std::string& path) {
  if (!path_exists(path + "/manifest.json") && !path_exists(RunPaths{path}.checkpoints()))
    if (const std::string hint = import_hint(path); !hint.empty())
      throw_error(ErrorKind::kMissingInput, concat(command, ": ", path, ": ", hint));
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

namespace {

// The run's own, with the adapters that it trained.
WeightSource weights_of_run(const SavedModel& saved) {
  const AdapterBase base = base_of_adapters(saved.manifest);
  if (base.place.empty()) return checkpoint_weights(saved.manifest);
  return adapted_weights(
      find_base(base, paths_of(saved.manifest).dir),
      checkpoint_weights(saved.manifest, "", [own = saved.manifest](const std::string& name) {
        return own.find(name) != nullptr;
      }));
}

// With adapters from elsewhere, whose rules become the model's.
WeightSource weights_with(const std::string& command, const std::vector<AdapterPlace>& places,
                          SavedModel& saved, bool warns) {
  ORTHANT_CHECK(!saved.config.lora.is_on(), kConfig, command,
                ": --adapter: ", saved.manifest.directory,
                " has adapters of its own; orthant merge makes one model of them first");
  saved.adapters.clear();
  std::vector<WeightSource> sources;
  Checksum sum;
  for (const AdapterPlace& place : places) {
    StoredAdapter adapter = open_adapter(command, place.path, saved.config);
    check_adapter_fits(adapter, saved.manifest);
    if (warns) warn_of_other_base(adapter, saved.manifest);
    if (place.name.empty()) {
      saved.config.lora = adapter.lora;
    } else {
      adapter = named_adapter(std::move(adapter), place.name);
    }
    saved.adapters.push_back({place.name, std::make_shared<const LoraRules>(adapter.lora)});
    for (const auto& [name, shape] : adapter.tensors) {
      const Tensor tensor = adapter.read(name);
      sum.update(name.data(), name.size());
      sum.update(tensor.data(), static_cast<size_t>(tensor.bytes()));
    }
    sources.push_back(stored_weights(std::move(adapter)));
  }
  saved.adapter = sum.hex();
  return adapted_weights(saved.manifest, [sources = std::move(sources)](Role& role) {
    for (const WeightSource& source : sources) source(role);
  });
}

// The model on its ranks, with a pipeline's stages in order and nothing that trains.
std::shared_ptr<Role> make_role(const std::string& command, SavedModel& saved, const Group& world) {
  RunConfig& c = saved.config;
  c.parallel.resolve(world.size());
  c.parallel.pipeline_schedule = "1f1b";
  // No sequence is cut: each context-parallel rank decodes the whole.
  check_layout(c.model, c.parallel, world.size(), 2 * c.parallel.context_parallel_size);
  const Device device = device_for(command, c);
  const Group group = connect_devices(world, device, c.parallel.device_transport);
  const RoleOptions options{
      .stages = {.model = c.model,
                 .moe = c.moe,
                 .dtype = c.precision,
                 .device = device,
                 .layers = split_stages(c.model, c.model.max_position_embeddings,
                                        static_cast<int>(c.parallel.pipeline_parallel_size),
                                        c.parallel.pipeline_layers),
                 .adapters = saved.adapters,
                 .quantization = quantization_rules(c)}};
  return std::make_shared<Role>(
      options, make_rank_groups(group, c.parallel, c.model.num_key_value_heads), saved.weights);
}

}  // namespace

SavedModel read_saved_model(const std::string& command, const std::string& path,
                            const SavedModelOptions& options, bool is_first) {
  SavedModel saved{.manifest = read_manifest(find_checkpoint(command, path))};
  saved.config = config_of(command, saved.manifest, options);
  saved.adapters = only_adapter(lora_rules(saved.config));
  saved.weights = options.adapters.empty() ? weights_of_run(saved)
                                           : weights_with(command, options.adapters, saved,
                                                          is_first && !options.may_be_another_base);
  saved.tokenizer = saved_tokenizer(saved.manifest, saved.config);
  saved.end_ids = end_ids_of(paths_of(saved.manifest).hub(), saved.config.model.vocab_size);
  const auto bos = saved.manifest.extra.find(kBeginKey);
  if (bos != saved.manifest.extra.end() && !bos->second.empty()) {
    const int32_t token = saved.tokenizer->special_ids().bos;
    ORTHANT_CHECK(token >= 0 && bos->second == std::to_string(token), kData,
                  saved.manifest.directory, ": texts begin with token ", bos->second,
                  ", and the tokenizer's first token is ", token);
    saved.begin = {token};
  }
  return saved;
}

SavedModel load_saved_model(const std::string& command, const std::string& path,
                            const SavedModelOptions& options, const Group& world) {
  SavedModel saved = read_saved_model(command, path, options, world.rank() == 0);
  saved.role = make_role(command, saved, world);
  saved.model = saved.role->pipeline().stages().front().get();
  return saved;
}

SavedModel load_saved_model(const std::string& command, const std::string& path,
                            const std::string& precision, const std::string& adapter) {
  SavedModelOptions options{.precision = precision};
  if (!adapter.empty()) options.adapters = {{.name = "", .path = adapter}};
  return load_saved_model(command, path, options, Group::self());
}

}  // namespace orthant
