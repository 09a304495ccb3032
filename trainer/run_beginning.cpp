// SPDX-License-Identifier: Apache-2.0
#include "trainer/run_beginning.h"

#include <cmath>

#include "base/durable_file.h"
#include "base/error.h"
#include "base/log.h"
#include "checkpoint/file_io.h"
#include "checkpoint/reader.h"
#include "trainer/agree.h"
#include "trainer/base_model.h"
#include "trainer/finetune_config.h"
#include "trainer/hub/hub_folder.h"
#include "trainer/hub/imported_base.h"
#include "trainer/hub/merge.h"
#include "trainer/hub/quantize.h"
#include "trainer/hub/stored_adapter.h"
#include "trainer/quantized_weights.h"
#include "trainer/run/progress.h"
#include "trainer/run/run_dir.h"
#include "trainer/saved_model.h"
#include "trainer/training_state.h"
#include "trainer/weight_source.h"

namespace orthant {
namespace {

constexpr int64_t kMaxFileBytes = int64_t{1} << 30;

void check_predicts_further(const Manifest& base, const ModelConfig& model) {
  ORTHANT_CHECK(base.find(concat("model.layers.", model.num_hidden_layers, ".enorm.weight")),
                kConfig, "model.num_nextn_predict_layers: ", base.directory,
                " has no layer for multi-token prediction that was trained; want a published "
                "model's folder that has one as model.from (orthant import keeps it for an export "
                "alone), a run that trained one, or 0");
}

// Those of an earlier start, which may have had another base, are none of this run's.
void keep_files(const RunPaths& base, const RunPaths& run) {
  remove_tree(run.hub());
  for (const char* name : kHubFiles) remove_tree(run.file(name));
  make_folders(run.hub());
  for (const char* name : kHubFiles)
    if (const std::string file = base.hub() + "/" + name; path_exists(file))
      replace_file(run.hub() + "/" + name, read_text_file(file, kMaxFileBytes));
}

}  // namespace

std::string teacher_checkpoint(const FinetuneConfig& config) {
  constexpr const char* kKey = "distill.teacher.from";
  const std::string& named = config.distill.teacher.from;
  const std::string from = teacher_place(config.run.dir, named);
  ORTHANT_CHECK(!from.empty(), kMissingInput, kKey, ": ", named, " does not exist");
  return find_checkpoint(
      kKey, is_run(from) ? from : import_into(kKey, config.run.dir + "/teacher", from));
}

std::string take_texts(const Manifest& other, const std::string& run_dir, const Group& world) {
  first_rank_does(world, [&] {
    keep_files(run_of_checkpoint(other.directory), {run_dir});
    return std::string();
  });
  const auto begin = other.extra.find(kBeginKey);
  return begin == other.extra.end() ? "" : begin->second;
}

namespace {

// The checkpoint of model.from; a published model is imported first.
std::string checkpoint_of_model(const RunConfig& config) {
  const std::string from = base_place(config.run.dir, config.model.from);
  return find_checkpoint("model.from",
                         is_run(from) ? from
                                      : import_into("model.from", config.run.dir + "/base", from,
                                                    config.model.num_nextn_predict_layers > 0));
}

// The checkpoint that a run begins with: with adapters merged into it, of the model's own run and
// of model.adapters, each time in a run directory of its own.
std::string first_checkpoint(const RunConfig& config) {
  std::string checkpoint = checkpoint_of_model(config);
  std::vector<std::string> adapters;
  if (!base_of_adapters(read_manifest(checkpoint)).place.empty()) adapters.emplace_back();
  for (const MergedAdapter& adapter : config.model.adapters) adapters.push_back(adapter.path);
  for (size_t i = 0; i < adapters.size(); ++i) {
    const std::string merged = concat(config.run.dir, "/base-", i + 1);
    remove_tree(merged);  // of an earlier start, which may have had others
    log::info("model.adapters: merging ", adapters[i].empty() ? config.model.from : adapters[i],
              " into ", merged);
    merge_model(
        {.model = checkpoint, .run_dir = merged, .adapter = adapters[i], .may_untie = false});
    checkpoint = find_checkpoint("model.adapters", merged);
  }
  return checkpoint;
}

// The checkpoint with its weights held as the run wants them: quantised into a run directory of its
// own, unless they are.  What trains beside the adapters stays whole.
std::string quantized_checkpoint(const RunConfig& config, const std::string& checkpoint) {
  if (!config.quantization.is_on() ||
      quantization_record(read_manifest(checkpoint)).format != Quantization::kNone)
    return checkpoint;
  const std::string name = quantization_names().of(config.quantization.format);
  const std::string made = concat(config.run.dir, "/base-", name);
  remove_tree(made);  // of an earlier start
  log::info("quantization.format: holding the weights of ", checkpoint, " in ", name, ": ", made);
  QuantizeOptions options{
      .model = checkpoint, .run_dir = made, .quantization = config.quantization};
  for (const ModulePattern& saved : config.lora.modules_to_save)
    options.quantization.exclude_modules.push_back(saved);
  const QuantizeResult result = quantize_model(options);
  const double bits = static_cast<double>(result.bits) / static_cast<double>(result.elements);
  log::info("quantization.format: ", with_thousands(result.elements), " weights of ",
            std::round(bits * 1e3) / 1e3, " bits each, off by ",
            std::round(result.error * 1e4) / 1e4, " of their size (root mean square)");
  return find_checkpoint("quantization.format", made);
}

// Where a base is looked for that is not where it was.
std::string other_place(const RunConfig& config) {
  const std::string& from = config.model.from;
  return !from.empty() && path_exists(from) && is_run(from) ? find_checkpoint("model.from", from)
                                                            : "";
}

// Those of lora.from.
WeightSource first_adapters(const RunConfig& config, const Manifest& base, bool is_first) {
  StoredAdapter adapter = open_adapter("lora.from", config.lora.from, config);
  check_adapter_fits(adapter, base);
  check_rules_fit(adapter, config.lora);
  if (is_first) warn_of_other_base(adapter, base);
  log::info("lora.from: begins with the adapters of ", adapter.path);
  return begun_adapters(std::move(adapter));
}

}  // namespace

RunBeginning begin_from_base(const RunConfig& config, const AdapterBase* stored,
                             const Group& world) {
  const bool adapts = config.lora.is_on();
  const auto seed = static_cast<uint64_t>(config.run.seed);
  ORTHANT_CHECK(!adapts || stored || !config.model.from.empty(), kConfig,
                "lora.rank: adapters want a model to stand beside: model.from, a published model's "
                "folder, a run directory or one of its checkpoints");
  ORTHANT_CHECK(adapts || config.lora.from.empty(), kConfig,
                "lora.from: adapters want a model to stand beside: model.from");
  // Without adapters, weights come with the run's own checkpoint.
  if (stored ? !adapts : config.model.from.empty()) return {random_weights(seed)};
  // All ranks take what the first one finds.
  const std::string checkpoint = first_rank_does(world, [&] {
    return stored ? find_base(*stored, config.run.dir, other_place(config)).directory
                  : quantized_checkpoint(config, first_checkpoint(config));
  });
  Manifest manifest = read_manifest(checkpoint);
  if (config.model.num_nextn_predict_layers > 0) check_predicts_further(manifest, config.model);
  RunBeginning beginning;
  if (!stored) {
    beginning.begins_with = take_texts(manifest, config.run.dir, world);
    log::info("model.from: begins with the weights of ", checkpoint);
  }
  if (!adapts) {
    beginning.weights = checkpoint_weights(std::move(manifest));
    return beginning;
  }
  beginning.base = stored ? *stored : base_at(manifest, config.run.dir);
  WeightSource adapters = stored || config.lora.from.empty()
                              ? random_adapters(seed)
                              : first_adapters(config, manifest, world.rank() == 0);
  beginning.weights = adapted_weights(std::move(manifest), std::move(adapters));
  return beginning;
}

}  // namespace orthant
