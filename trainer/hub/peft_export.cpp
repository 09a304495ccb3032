// SPDX-License-Identifier: Apache-2.0
#include "trainer/hub/peft_export.h"

#include <cmath>
#include <cstring>
#include <filesystem>

#include "base/config/config.h"
#include "base/durable_file.h"
#include "base/error.h"
#include "checkpoint/file_io.h"
#include "checkpoint/reader.h"
#include "trainer/adapters.h"
#include "trainer/finetune_config.h"
#include "trainer/hub/merge.h"
#include "trainer/hub/peft_adapter.h"
#include "trainer/hub/peft_plan.h"
#include "trainer/hub/published_model.h"
#include "trainer/run/run_dir.h"

namespace orthant {
namespace {

// Tensors of the folder in the order of their names, with what of ours they are made of.
using Sources = std::map<std::string, std::vector<const PeftTensor*>>;

std::string bytes_of(const StoredAdapter& adapter, const std::vector<const PeftTensor*>& parts,
                     DType dtype) {
  const Shape& shape = parts.front()->source_shape;
  std::string bytes(static_cast<size_t>(shape.numel() * size_of(dtype)), '\0');
  for (const PeftTensor* part : parts) {
    const Tensor ours = adapter.read(part->name).to(dtype);
    scatter_peft(*part, size_of(dtype), static_cast<const char*>(ours.data()), bytes.data());
  }
  return bytes;
}

int64_t write_weights(const StoredAdapter& adapter, const PeftFolder& folder, DType dtype,
                      const std::string& path) {
  Sources sources;
  for (const PeftTensor& tensor : folder.tensors) sources[tensor.source].push_back(&tensor);
  std::vector<SafetensorsEntry> entries;
  for (const auto& [name, parts] : sources)
    entries.push_back({.name = name, .dtype = dtype, .shape = parts.front()->source_shape});
  SafetensorsWriter file(path, std::move(entries), {{"format", "pt"}});
  for (const auto& [name, parts] : sources) {
    const std::string bytes = bytes_of(adapter, parts, dtype);
    file.append(bytes.data(), std::ssize(bytes));
  }
  file.finish();
  return file.total_bytes();
}

// The folder gives the adapters that it was made of: every tensor, rank and scale.
void check_folder(const std::string& folder, const StoredAdapter& adapter, const RunConfig& model) {
  const StoredAdapter again = open_peft_adapter(folder, model);
  ORTHANT_CHECK(again.tensors == adapter.tensors, kInternal, folder, ": want ",
                adapter.tensors.size(), " adapter tensors of the run's shapes, got ",
                again.tensors.size());
  const LoraRules meant(adapter.lora), read(again.lora);
  for (const auto& [name, shape] : adapter.tensors) {
    const Tensor wanted = adapter.read(name), got = again.read(name);
    ORTHANT_CHECK(wanted.dtype() == got.dtype() &&
                      std::memcmp(wanted.data(), got.data(), static_cast<size_t>(got.bytes())) == 0,
                  kData, folder, ": ", name, ": other values are read than were written");
    const auto a = meant.of(module_of(name)), b = read.of(module_of(name));
    ORTHANT_CHECK(
        a.has_value() == b.has_value() &&
            (!a || (a->rank == b->rank && std::abs(a->scale - b->scale) <= 1e-12 * a->scale)),
        kInternal, folder, ": ", name, ": another rank or scale is read than was meant");
  }
}

// The tokenizer, and the chat template: not config.json, by which a folder is taken for a model.
bool copy_tokenizer(const RunPaths& run, const std::string& folder) {
  bool has_tokenizer = false;
  for (const std::string name : kHubFiles) {
    if (name == "config.json" || name == "generation_config.json") continue;
    for (const std::string& kept : {run.hub() + "/" + name, run.file(name)})
      if (path_exists(kept) && !path_exists(folder + "/" + name)) {
        std::filesystem::copy_file(kept, folder + "/" + name);
        has_tokenizer = has_tokenizer || name.starts_with("tokenizer.");
      }
  }
  return has_tokenizer;
}

}  // namespace

int64_t write_peft_folder(const StoredAdapter& adapter, const RunConfig& model,
                          const BaseNote& base, const std::string& folder) {
  const PeftFolder planned = plan_peft_folder(adapter, model);
  ORTHANT_CHECK(list_directory(folder).empty(), kCannotWrite, folder,
                ": is not empty; give a folder that is not there yet");
  make_folders(folder);
  const DType dtype = adapter.read(adapter.tensors.begin()->first).dtype();
  replace_file(folder + "/" + kBaseNoteFile, base_note_text(base));
  replace_file(folder + "/" + kPeftConfigFile, peft_config_text(planned.config));
  const int64_t bytes = write_weights(adapter, planned, dtype, folder + "/" + kPeftWeightsFile);
  check_folder(folder, adapter, model);
  return bytes;
}

ExportResult export_adapter(const ExportOptions& options, const Manifest& manifest) {
  const RunConfig config =
      parse_any_run_config(manifest.configuration, manifest.directory + "/manifest.json");
  const RunPaths run{manifest.directory + "/../.."};
  const AdapterBase place = base_of_adapters(manifest);
  const Manifest base = find_base(place, run.dir);
  StoredAdapter adapter = adapter_of_run("export", manifest);
  // A base that adapters were merged into is not what the configuration names.
  adapter.base_name =
      base.extra.contains(kMergedIntoKey)
          ? std::filesystem::path(base.directory + "/../..").lexically_normal().string()
          : config.model.from;
  ExportResult result{.tensors = std::ssize(adapter.tensors),
                      .files = 1,
                      .family = "adapters of " + config.model.model_type};
  result.bytes = write_peft_folder(adapter, config,
                                   {.name = adapter.base_name, .fingerprint = place.fingerprint},
                                   options.folder);
  result.has_tokenizer = copy_tokenizer(run, options.folder);
  return result;
}

}  // namespace orthant
