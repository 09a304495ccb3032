// SPDX-License-Identifier: Apache-2.0
#include "trainer/base_model.h"

#include <algorithm>
#include <filesystem>

#include "base/error.h"
#include "base/log.h"
#include "checkpoint/directory.h"
#include "checkpoint/file_io.h"
#include "checkpoint/reader.h"
#include "trainer/base_fit.h"
#include "trainer/finetune_config.h"
#include "trainer/hub/hub_config.h"
#include "trainer/hub/hub_folder.h"
#include "trainer/hub/imported_base.h"
#include "trainer/hub/published_model.h"
#include "trainer/hub/stored_adapter.h"
#include "trainer/run/run_dir.h"
#include "trainer/saved_model.h"
#include "trainer/training_state.h"

namespace orthant {
namespace {

constexpr int64_t kMaxFileBytes = int64_t{1} << 30;

RunPaths run_of(const Manifest& manifest) { return run_of_checkpoint(manifest.directory); }

std::string place_of(const std::string& from, const std::string& imported) {
  return path_exists(from) ? from : imported_model(imported, from);
}

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

bool is_run(const std::string& path) {
  return path_exists(path + "/manifest.json") || path_exists(RunPaths{path}.checkpoints());
}

std::string base_place(const std::string& run_dir, const std::string& from) {
  return place_of(from, run_dir + "/base");
}

std::string teacher_place(const std::string& run_dir, const std::string& from) {
  return place_of(from, run_dir + "/teacher");
}

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

}  // namespace orthant
