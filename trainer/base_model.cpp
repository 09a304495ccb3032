// SPDX-License-Identifier: Apache-2.0
#include "trainer/base_model.h"

#include <algorithm>
#include <cmath>
#include <filesystem>

#include "base/durable_file.h"
#include "base/error.h"
#include "base/log.h"
#include "checkpoint/directory.h"
#include "checkpoint/file_io.h"
#include "checkpoint/reader.h"
#include "trainer/agree.h"
#include "trainer/base_fit.h"
#include "trainer/finetune_config.h"
#include "trainer/hub/hub_config.h"
#include "trainer/hub/hub_folder.h"
#include "trainer/hub/imported_base.h"
#include "trainer/hub/merge.h"
#include "trainer/hub/published_model.h"
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

bool is_run(const std::string& path) {
  return path_exists(path + "/manifest.json") || path_exists(RunPaths{path}.checkpoints());
}

RunPaths run_of(const Manifest& manifest) { return run_of_checkpoint(manifest.directory); }

// What the base says of the model and the tokenizer.
struct Base {
  YamlNode model, quantization;
  std::string tokenizer;
  RunConfig config;
  bool is_the_run = false;  // which has begun
};

Base base_of_config(RunConfig config, const std::string& where, std::string tokenizer) {
  config.model.adapters.clear();  // its weights have them
  YamlNode root = parse_yaml(to_yaml(config), where);
  return {std::move(*root.find("model")), std::move(*root.find("quantization")),
          std::move(tokenizer), config};
}

// With the tokenizer that the run kept, where it has files.
Base base_of_run(const std::string& configuration, const std::string& where, const RunPaths& run) {
  const RunConfig config = parse_any_run_config(configuration, where);
  std::string tokenizer = config.data.tokenizer;
  for (const char* name : {"tokenizer.json", "tokenizer.model"})
    if (const std::string kept = run.file(name); path_exists(kept)) tokenizer = kept;
  return base_of_config(config, where, tokenizer);
}

// Where the model is: as the key says, or as the run has imported it, where that is gone.
std::string place_of(const std::string& from, const std::string& imported) {
  return path_exists(from) ? from : imported_model(imported, from);
}
std::string base_place(const std::string& run_dir, const std::string& from) {
  return place_of(from, run_dir + "/base");
}
std::string teacher_place(const std::string& run_dir, const std::string& from) {
  return place_of(from, run_dir + "/teacher");
}

// A run that has begun is its own base.
Base base_of_itself(const RunPaths& own, const std::string& from) {
  const std::string yaml = read_text_file(own.config(), kMaxFileBytes);
  Base base = base_of_run(yaml, own.config(), own);
  const YamlNode* begun_from = base.model.find("from");
  if (begun_from && begun_from->scalar != from)
    log::warn("model.from: ", from, " is not looked at: ", own.dir, ", which began with ",
              begun_from->scalar.empty() ? "random weights" : begun_from->scalar,
              ", goes on with its own weights; give another run.dir to begin with ", from);
  base.is_the_run = true;
  return base;
}

RunPaths own_run(const RunConfig& config) {
  return {config.run.dir.empty() ? "runs/" + config.run.name : config.run.dir};
}

// key: that says `from`; place: where that is, "" where it is not.
Base base_at_place(const char* key, const std::string& from, const std::string& place) {
  ORTHANT_CHECK(!place.empty(), kMissingInput, key, ": ", from,
                " does not exist; want a published model's folder, a run directory, or one of its "
                "checkpoints");
  if (is_run(place)) {
    const Manifest manifest = read_manifest(find_checkpoint(key, place));
    return base_of_run(manifest.configuration, manifest.directory + "/manifest.json: configuration",
                       run_of(manifest));
  }
  const PublishedModel published = open_published(place);
  ORTHANT_CHECK(!published.is_gguf, kConfig, key, ": ", place, " is a GGUF file: orthant import ",
                place, " RUN makes a run directory of it, which ", key, " takes");
  const std::string where = published.label_of("config.json");
  const HubConfig hub =
      parse_hub_config(published.files.at("config.json"),
                       {.label = where, .name = published.name, .tokenizer = place});
  return base_of_config(hub.config, where, place);
}

Base read_base(const RunConfig& config) {
  const RunPaths own = own_run(config);
  if (path_exists(own.config()) && !list_steps(own.checkpoints()).empty())
    return base_of_itself(own, config.model.from);
  return base_at_place("model.from", config.model.from, base_place(own.dir, config.model.from));
}

YamlNode::Entry& entry_of(YamlNode& map, const std::string& key) {
  const auto found = std::find_if(map.map.begin(), map.map.end(),
                                  [&](const YamlNode::Entry& e) { return e.key == key; });
  if (found != map.map.end()) return *found;
  map.kind = YamlNode::Kind::kMap;
  map.map.push_back({.key = key, .key_place = map.place});
  return map.map.back();
}

// The keys of `over`, and those of `under` that it lacks.
YamlNode merged(YamlNode under, const YamlNode& over) {
  for (const YamlNode::Entry& entry : over.map) entry_of(under, entry.key) = entry;
  return under;
}

// The lora block that lora.from asks for; where the run has begun, the one that it has.
YamlNode adapter_block(const RunConfig& config) {
  const std::string where = "lora.from";
  const RunPaths own = own_run(config);
  RunConfig with = config;
  with.lora =
      path_exists(own.config())
          ? parse_any_run_config(read_text_file(own.config(), kMaxFileBytes), own.config()).lora
          : open_adapter(where, config.lora.from, config).lora;
  YamlNode root = parse_yaml(to_yaml(with), where);
  return std::move(*root.find("lora"));
}

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

void set_scalar(YamlNode& root, const char* block, const char* key, const std::string& value) {
  entry_of(entry_of(root, block).value, key).value = {.kind = YamlNode::Kind::kScalar,
                                                      .scalar = value};
}

// Whether the run's own base will be the very one that is named, with nothing merged into it.
bool is_base_as_it_is(const Base& base, const RunConfig& config) {
  return base.is_the_run || (!base.config.lora.is_on() && config.model.adapters.empty());
}

// What is quantised stays as it is.
void check_quantization(const RunConfig& base, const RunConfig& made) {
  ORTHANT_CHECK(base.quantization.format == made.quantization.format, kConfig,
                "quantization.format: want ", quantization_names().of(base.quantization.format),
                ", in which model.from holds its weights, or nothing, got ",
                quantization_names().of(made.quantization.format),
                "; name the model that it was quantised from for another format");
}

// The configuration with what the base says; `takes_length`: of batch.sequence_length too.
template <ConfigRoot Root>
LoadedConfig<Root> with_base(YamlNode root, const std::vector<std::string>& overrides,
                             const LoadedConfig<Root>& loaded, bool takes_length) {
  Base base = read_base(loaded.config);
  // Where the base came from itself is not where this run does.
  std::erase_if(base.model.map, [](const YamlNode::Entry& entry) { return entry.key == "from"; });
  YamlNode& model = entry_of(root, "model").value;
  model = merged(std::move(base.model), model);
  if (!loaded.source.given("data.tokenizer")) set_scalar(root, "data", "tokenizer", base.tokenizer);
  if (takes_length && !loaded.source.given("batch.sequence_length"))
    set_scalar(root, "batch", "sequence_length", std::to_string(base.config.batch.sequence_length));
  const bool holds_quantized =
      base.config.quantization.is_on() && is_base_as_it_is(base, loaded.config);
  if (holds_quantized) {
    YamlNode& quantization = entry_of(root, "quantization").value;
    quantization = merged(std::move(base.quantization), quantization);
  }
  LoadedConfig<Root> made;
  made.source = read_config(root, overrides, field_list(made.config));
  if (!base.is_the_run) {
    check_fits_base(base.config, made.config);
    if (holds_quantized) check_quantization(base.config, made.config);
  }
  if (made.config.lora.from.empty()) return made;
  // The block follows from the adapters, as the model's does from the base.
  YamlNode& lora = entry_of(root, "lora").value;
  lora = merged(adapter_block(made.config), lora);
  LoadedConfig<Root> with_adapters;
  with_adapters.source = read_config(std::move(root), overrides, field_list(with_adapters.config));
  return with_adapters;
}

// The configuration of a model that begins with drawn weights, with what the teacher says of the
// vocabulary and of lengths.
LoadedConfig<FinetuneConfig> with_teacher(YamlNode root, const std::vector<std::string>& overrides,
                                          const FinetuneConfig& config,
                                          const ConfigSource& source) {
  const std::string& from = config.distill.teacher.from;
  const Base teacher =
      base_at_place("distill.teacher.from", from, teacher_place(own_run(config).dir, from));
  const auto set = [&](const char* block, const char* key, const std::string& value) {
    if (!source.given(concat(block, ".", key))) set_scalar(root, block, key, value);
  };
  set("data", "tokenizer", teacher.tokenizer);
  set("model", "vocab_size", std::to_string(teacher.config.model.vocab_size));
  set("batch", "sequence_length", std::to_string(teacher.config.batch.sequence_length));
  LoadedConfig<FinetuneConfig> made;
  made.source = read_config(std::move(root), overrides, field_list(made.config));
  return made;
}

}  // namespace

LoadedConfig<RunConfig> load_run_config(const std::string& path,
                                        const std::vector<std::string>& overrides) {
  LoadedConfig<RunConfig> loaded = load_config<RunConfig>(path, overrides);
  if (loaded.config.model.from.empty()) return loaded;
  return with_base(load_yaml(path), overrides, loaded, /*takes_length=*/false);
}

LoadedConfig<FinetuneConfig> load_finetune_config(const std::string& path,
                                                  const std::vector<std::string>& overrides) {
  const YamlNode root = path.empty() ? parse_yaml("{}", "the command line") : load_yaml(path);
  LoadedConfig<FinetuneConfig> loaded;
  loaded.source = read_config(root, overrides, field_list(loaded.config));
  if (loaded.config.model.from.empty() && !loaded.config.distill.teacher.from.empty())
    return with_teacher(root, overrides, loaded.config, loaded.source);
  ORTHANT_CHECK(!loaded.config.model.from.empty(), kConfig, path.empty() ? "" : path + ": ",
                "model.from: want the model to fine-tune, a published model's folder or a run "
                "directory, got nothing");
  return with_base(root, overrides, loaded, /*takes_length=*/true);
}

RunConfig parse_any_run_config(const std::string& text, const std::string& where) {
  YamlNode root = parse_yaml(text, where);
  std::erase_if(root.map, [](const YamlNode::Entry& entry) {
    return entry.key == "finetune" || entry.key == "distill";
  });
  RunConfig config;
  read_config(std::move(root), {}, field_list(config));
  return config;
}

BaseTexts base_texts(const FinetuneConfig& config, const Tokenizer& tokenizer) {
  const RunPaths own = own_run(config);
  const bool has_begun = !list_steps(own.checkpoints()).empty();
  const std::string from = config.model.from.empty()
                               ? teacher_place(own.dir, config.distill.teacher.from)
                               : base_place(own.dir, config.model.from);
  BaseTexts texts;
  bool begins = false;
  if (!from.empty() && !is_run(from)) {
    texts.folder = from;
    begins = begins_with_bos(open_published(from), tokenizer);
  } else {
    const Manifest manifest = read_manifest(from.empty() ? find_checkpoint("run.dir", own.dir)
                                                         : find_checkpoint("model.from", from));
    texts.folder = run_of(manifest).hub();
    const auto begin = manifest.extra.find(kBeginKey);
    begins = begin != manifest.extra.end() && !begin->second.empty();
  }
  // Before that it may be of an earlier start, with another base.
  if (has_begun && path_exists(own.hub())) texts.folder = own.hub();
  if (begins) texts.begin = {tokenizer.special_ids().bos};
  texts.end_ids = end_ids_of(texts.folder, config.model.vocab_size);
  return texts;
}

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
    keep_files(run_of(other), {run_dir});
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
