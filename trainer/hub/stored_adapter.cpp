// SPDX-License-Identifier: Apache-2.0
#include "trainer/hub/stored_adapter.h"

#include <cmath>
#include <filesystem>
#include <memory>
#include <set>

#include "base/config/config.h"
#include "base/error.h"
#include "base/log.h"
#include "checkpoint/file_io.h"
#include "checkpoint/reader.h"
#include "trainer/adapters.h"
#include "trainer/finetune_config.h"
#include "trainer/hub/hub_folder.h"
#include "trainer/hub/peft_adapter.h"
#include "trainer/quantized_weights.h"
#include "trainer/saved_model.h"
#include "trainer/training_state.h"
#include "trainer/weight_source.h"

namespace orthant {
namespace {

std::string last_name(const std::string& path) {
  const std::filesystem::path normal = std::filesystem::path(path).lexically_normal();
  return (normal.has_filename() ? normal : normal.parent_path()).filename().string();
}

std::string extra_of(const Manifest& manifest, const char* key) {
  const auto found = manifest.extra.find(key);
  return found == manifest.extra.end() ? "" : found->second;
}

}  // namespace

std::string base_name_of(const Manifest& base) {
  const std::string imported = extra_of(base, kImportedKey);
  return imported.empty() ? base.run_id : last_name(imported);
}

StoredAdapter adapter_of_run(const std::string& command, const Manifest& manifest) {
  const RunConfig config =
      parse_any_run_config(manifest.configuration, manifest.directory + "/manifest.json");
  ORTHANT_CHECK(config.lora.is_on(), kConfig, command, ": ", manifest.directory,
                ": has no adapters; want a run that trained with lora.rank, or a folder with "
                "adapter_config.json");
  StoredAdapter adapter{.path = manifest.directory,
                        .lora = config.lora,
                        .base_name = last_name(config.model.from),
                        .base_fingerprint = base_of_adapters(manifest).fingerprint};
  for (const ManifestTensor& tensor : manifest.tensors)
    if (!tensor.name.starts_with(kOptimizerPrefix))
      adapter.tensors[tensor.name] = tensor.global_shape;
  adapter.read = [manifest](const std::string& name) {
    const ManifestTensor& t = *manifest.find(name);
    return read_weight(manifest, {name, t.dtype, t.global_shape});
  };
  return adapter;
}

StoredAdapter open_adapter(const std::string& command, const std::string& path,
                           const RunConfig& model) {
  ORTHANT_CHECK(path_exists(path), kMissingInput, command, ": ", path,
                " does not exist; want a folder with adapter_config.json, or a run directory that "
                "trained adapters");
  if (is_peft_folder(path)) return open_peft_adapter(path, model);
  return adapter_of_run(command, read_manifest(find_checkpoint(command, path)));
}

std::vector<AdapterPlace> adapter_places(const std::string& command,
                                         const std::vector<std::string>& texts) {
  constexpr const char* kNameChars =
      "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_-";
  std::vector<AdapterPlace> places;
  std::set<std::string> names;
  for (const std::string& text : texts) {
    AdapterPlace place{.name = text.substr(0, text.find('=')), .path = text};
    const bool has_name = place.name.size() < text.size() && !place.name.empty() &&
                          place.name.find_first_not_of(kNameChars) == std::string::npos &&
                          !path_exists(text);
    if (has_name) {
      place.path = text.substr(place.name.size() + 1);
    } else {
      place.name.clear();
    }
    ORTHANT_CHECK(has_name || texts.size() == 1, kUsage, command, ": --adapter: ", text,
                  ": want NAME=DIR for each of several; a name has letters, digits, _ and -");
    ORTHANT_CHECK(names.insert(place.name).second, kUsage, command, ": --adapter: ", text,
                  ": there is another adapter called ", place.name);
    places.push_back(std::move(place));
  }
  return places;
}

StoredAdapter named_adapter(StoredAdapter adapter, const std::string& name) {
  ORTHANT_CHECK(!adapter.lora.use_dora, kConfig, adapter.path,
                ": use_dora: is not built where a model has adapters by name; orthant merge makes "
                "one model of it and the base");
  std::map<std::string, std::string> stored_name;
  std::map<std::string, Shape> tensors;
  for (const auto& [stored, shape] : adapter.tensors) {
    const std::string module = module_of(stored);
    ORTHANT_CHECK(is_adapter_tensor(stored), kConfig, adapter.path, ": ", stored,
                  ": is in the place of the base's, which other adapters by name want as it is; "
                  "orthant merge makes one model of it and the base");
    const std::string here = adapter_tensor(module, stored.substr(module.size() + 1), name);
    stored_name[here] = stored;
    tensors[here] = shape;
  }
  adapter.tensors = std::move(tensors);
  adapter.read = [read = std::move(adapter.read), stored_name = std::move(stored_name)](
                     const std::string& here) { return read(stored_name.at(here)); };
  return adapter;
}

void check_adapter_fits(const StoredAdapter& adapter, const Manifest& base) {
  // What of a weight [out, in] a tensor beside it has as its first or last dimension.
  struct Side {
    const char* kind;
    bool first, of_out;
  };
  constexpr Side kSides[] = {{"lora_A.weight", false, false},
                             {"lora_B.weight", true, true},
                             {"lora_embedding_A", true, true},
                             {"lora_embedding_B", true, false},
                             {"lora_magnitude_vector", true, true}};
  std::map<std::string, Shape> weights;
  for (const StoredWeight& weight : stored_weights(base)) weights[weight.name] = weight.shape;
  for (const auto& [name, shape] : adapter.tensors) {
    const std::string module = module_of(name);
    auto weight = weights.find(module + ".weight");
    if (weight == weights.end() && module == "lm_head")
      weight = weights.find("model.embed_tokens.weight");  // tied
    ORTHANT_CHECK(weight != weights.end(), kData, adapter.path, ": ", name, ": the model has no ",
                  module, " (", base.directory, ")");
    const auto refuse = [&, &name = name, &shape = shape] {
      throw_error(ErrorKind::kData,
                  concat(adapter.path, ": ", name, " ", shape.text(), ": does not fit the model's ",
                         weight->first, " ", weight->second.text(), " (", base.directory, ")"));
    };
    if (!is_adapter_tensor(name) && shape != weight->second) refuse();
    for (const Side& side : kSides)
      if (name.ends_with(side.kind) &&
          shape[side.first ? 0 : -1] != weight->second[side.of_out ? 0 : -1])
        refuse();
  }
}

void warn_of_other_base(const StoredAdapter& adapter, const Manifest& base) {
  if (!adapter.base_fingerprint.empty()) {
    const std::string found = weights_fingerprint(base);
    if (found != adapter.base_fingerprint)
      log::warn(adapter.path, ": was trained over weights with the fingerprint ",
                adapter.base_fingerprint, ", and ", base.directory, " has ", found);
    return;
  }
  const std::string name = base_name_of(base), theirs = last_name(adapter.base_name);
  if (!theirs.empty() && theirs != name)
    log::warn(adapter.path, ": was trained over ", adapter.base_name, ", and the model is ", name,
              "; whether their weights are the same is not known");
}

WeightSource stored_weights(StoredAdapter adapter) {
  return given_weights([adapter = std::move(adapter)](const LogicalTensor& tensor) {
    const auto found = adapter.tensors.find(tensor.name);
    if (found == adapter.tensors.end()) return Tensor();
    ORTHANT_CHECK(found->second == tensor.global_shape, kData, adapter.path, ": tensor ",
                  tensor.name, ": want ", tensor.global_shape.text(), ", got ",
                  found->second.text());
    return adapter.read(tensor.name);
  });
}

WeightSource begun_adapters(StoredAdapter adapter) {
  return [adapter = std::move(adapter)](Role& role) {
    for (const auto& parameter : role.store().all())
      for (const LogicalTensor& t : parameter->logical())
        ORTHANT_CHECK(!is_adapter_tensor(t.name) || adapter.tensors.contains(t.name), kConfig,
                      "lora.from: ", adapter.path, ": has no ", t.name,
                      ", and the lora block gives that module an adapter");
    stored_weights(adapter)(role);
  };
}

void check_rules_fit(const StoredAdapter& adapter, const LoraConfig& rules) {
  const LoraRules stored(adapter.lora), wanted(rules);
  for (const auto& [name, shape] : adapter.tensors) {
    const std::string module = module_of(name);
    const auto is = stored.of(module), want = wanted.of(module);
    const auto text = [](const std::optional<LoraRule>& rule) {
      return rule ? concat("rank ", rule->rank, " and factor ", rule->scale) : "no adapter";
    };
    ORTHANT_CHECK(is_adapter_tensor(name) || wanted.saves(module), kConfig,
                  "lora.from: ", adapter.path, ": ", name,
                  ": replaces a weight of the base, and lora.modules_to_save does not name it");
    ORTHANT_CHECK(
        is.has_value() == want.has_value() && stored.saves(module) == wanted.saves(module), kConfig,
        "lora.from: ", adapter.path, ": ", module, ": has ", text(is), ", and the lora block says ",
        text(want));
    ORTHANT_CHECK(
        !is || (is->rank == want->rank && std::abs(is->scale - want->scale) <= 1e-9 * is->scale),
        kConfig, "lora.from: ", adapter.path, ": ", module, ": has ", text(is),
        ", and the lora block says ", text(want));
  }
}

}  // namespace orthant
