// SPDX-License-Identifier: Apache-2.0
#include "trainer/hub/export.h"

#include <algorithm>
#include <filesystem>
#include <nlohmann/json.hpp>

#include "base/checksum.h"
#include "base/config/config.h"
#include "base/durable_file.h"
#include "base/error.h"
#include "base/log.h"
#include "checkpoint/file_io.h"
#include "checkpoint/new_folder.h"
#include "checkpoint/reader.h"
#include "trainer/finetune_config.h"
#include "trainer/hub/hub_folder.h"
#include "trainer/hub/hub_model.h"
#include "trainer/hub/peft_export.h"
#include "trainer/quantized_weights.h"
#include "trainer/run/run_dir.h"
#include "trainer/run/work_progress.h"
#include "trainer/saved_model.h"
#include "trainer/training_state.h"

namespace orthant {
namespace {

constexpr int64_t kBatchBytes = int64_t{1} << 30;  // of tensors that are read at once

// A tensor of the checkpoint, and what it is called outside.
struct Item {
  StoredWeight weight;
  std::string name;
  DType dtype;  // that it is written in
  RotaryRows rotary;
  std::string checksum = {};  // of what was written

  int64_t bytes() const { return weight.shape.numel() * size_of(dtype); }
};

bool is_extra(const StoredWeight& weight) { return weight.name.starts_with(kHubExtraPrefix); }

// Masters are wider than what the model computes with; selection biases are not.
DType written_dtype(const Manifest& manifest, const RunConfig& config, const StoredWeight& weight) {
  const bool as_it_came =
      manifest.extra.contains(kImportedKey) && weight.format == Quantization::kNone;
  if (as_it_came || is_extra(weight) || weight.name.ends_with("e_score_correction_bias"))
    return weight.dtype;
  return config.precision == DType::kF64 ? DType::kF32 : config.precision;
}

std::vector<Item> items_of(const Manifest& manifest, const RunConfig& config,
                           const ModelConfig& hub_model) {
  std::map<std::string, StoredWeight> stored;
  for (StoredWeight& weight : stored_weights(manifest)) stored[weight.name] = std::move(weight);
  std::vector<Item> items;
  const auto add = [&](const StoredWeight& weight, const std::string& outside,
                       const RotaryRows& rotary) {
    items.push_back({weight, outside, written_dtype(manifest, config, weight), rotary});
  };
  for (const auto& [name, shape] : logical_tensors(config)) {
    const auto found = stored.find(name);
    ORTHANT_CHECK(found != stored.end() && found->second.shape == shape, kData, manifest.directory,
                  ": tensor ", name, ": want ", shape.text(), ", got ",
                  found != stored.end() ? found->second.shape.text() : "none");
    const HubTensor outside = hub_tensor(hub_model, name, shape);
    add(found->second, outside.sources.front().name, outside.rotary);
  }
  for (const HubCopy& copy : hub_copies(config.model)) add(stored.at(copy.ours), copy.name, {});
  for (const auto& [name, weight] : stored)
    if (is_extra(weight)) add(weight, name.substr(std::string(kHubExtraPrefix).size()), {});
  return items;
}

std::vector<std::pair<size_t, size_t>> cut(const std::vector<Item>& items, int64_t most_bytes) {
  std::vector<std::pair<size_t, size_t>> parts;
  int64_t bytes = 0;
  for (size_t i = 0; i < items.size(); ++i) {
    if (parts.empty() || bytes + items[i].bytes() > most_bytes) {
      parts.emplace_back(i, i);
      bytes = 0;
    }
    bytes += items[i].bytes();
    parts.back().second = i + 1;
  }
  return parts;
}

// Items [begin, end) as they are in the checkpoint.
std::vector<Tensor> load(const Manifest& manifest, const std::vector<Item>& items, size_t begin,
                         size_t end) {
  std::vector<StoredWeight> weights;
  for (size_t i = begin; i < end; ++i) weights.push_back(items[i].weight);
  return read_weights(manifest, weights);
}

class FolderWriter {
 public:
  FolderWriter(const Manifest& manifest, std::string folder, std::vector<Item> items)
      : manifest_(manifest),
        folder_(std::move(folder)),
        items_(std::move(items)),
        progress_({.command = "export", .noun = "tensor", .total = std::ssize(items_)}) {}

  void write(int64_t shard_bytes) {
    const auto parts = cut(items_, shard_bytes);
    for (size_t i = 0; i < parts.size(); ++i) {
      const std::string name = file_name(i, parts.size());
      write_file(name, parts[i].first, parts[i].second);
      if (parts.size() > 1) log::info("export: file ", i + 1, " of ", parts.size(), " is written");
    }
    if (parts.size() > 1) write_index();
    files_ = std::ssize(parts);
  }
  const std::vector<Item>& items() const { return items_; }
  int64_t files() const { return files_; }

 private:
  static std::string file_name(size_t index, size_t count) {
    if (count == 1) return "model.safetensors";
    const auto padded = [](size_t n) {
      const std::string text = std::to_string(n);
      return std::string(5 - std::min<size_t>(5, text.size()), '0') + text;
    };
    return concat("model-", padded(index + 1), "-of-", padded(count), ".safetensors");
  }

  void write_file(const std::string& name, size_t begin, size_t end) {
    std::vector<SafetensorsEntry> entries;
    for (size_t i = begin; i < end; ++i)
      entries.push_back(
          {.name = items_[i].name, .dtype = items_[i].dtype, .shape = items_[i].weight.shape});
    SafetensorsWriter file(folder_ + "/" + name, std::move(entries), {{"format", "pt"}});
    for (size_t i = begin; i < end;) {
      size_t last = i;
      for (int64_t bytes = 0; last < end && (last == i || bytes < kBatchBytes); ++last)
        bytes += items_[last].bytes();
      const std::vector<Tensor> loaded = load(manifest_, items_, i, last);
      for (size_t k = i; k < last; ++k) {
        append(items_[k], loaded[k - i], file);
        progress_.at(static_cast<int64_t>(k) + 1);
      }
      i = last;
    }
    file.finish();
    for (size_t i = begin; i < end; ++i) file_of_[items_[i].name] = name;
  }

  static void append(Item& item, const Tensor& loaded, SafetensorsWriter& file) {
    const Tensor data = item.dtype == loaded.dtype() ? loaded : loaded.to(item.dtype);
    auto* bytes = static_cast<char*>(data.data());
    if (item.rotary.count > 0)
      reorder_rows(HubDirection::kOut, item.rotary, data.dim(0), data.dim(1) * size_of(item.dtype),
                   bytes);
    item.checksum = xxh3_128_hex(bytes, static_cast<size_t>(data.bytes()));
    file.append(bytes, data.bytes());
  }

  void write_index() const {
    nlohmann::ordered_json index;
    int64_t total = 0;
    for (const Item& item : items_) total += item.bytes();
    index["metadata"]["total_size"] = total;
    for (const auto& [name, file] : file_of_) index["weight_map"][name] = file;
    replace_file(folder_ + "/model.safetensors.index.json", index.dump(2) + "\n");
  }

  const Manifest& manifest_;
  std::string folder_;
  std::vector<Item> items_;
  std::map<std::string, std::string> file_of_;
  int64_t files_ = 0;
  WorkProgress progress_;
};

// The folder is what an import would take, and holds what was meant.
void check_folder(const std::string& folder, const std::vector<Item>& items) {
  const HubModel again(folder);
  ORTHANT_CHECK(again.tensors().size() + again.extra().size() == items.size(), kInternal, folder,
                ": want ", items.size(), " tensors, got ",
                again.tensors().size() + again.extra().size());
  std::string bytes;
  for (const Item& item : items) {
    const SafetensorsEntry* entry = again.source().find(item.name);
    ORTHANT_CHECK(entry && entry->dtype == item.dtype, kInternal, folder, ": tensor ", item.name,
                  " is not there as it was written");
    bytes.resize(static_cast<size_t>(entry->end - entry->begin));
    again.source().read(item.name, 0, bytes.data(), std::ssize(bytes));
    ORTHANT_CHECK(xxh3_128_hex(bytes.data(), bytes.size()) == item.checksum, kData, folder,
                  ": tensor ", item.name, ": other bytes are read than were written");
  }
}

// Behind the last, trained or kept.
int64_t extra_layers(const Manifest& manifest, const ModelConfig& model) {
  int64_t last = model.num_all_layers() - 1;
  for (const ManifestTensor& tensor : manifest.tensors) {
    const std::string layers = concat(kHubExtraPrefix, "model.layers.");
    if (tensor.name.starts_with(layers))
      last = std::max<int64_t>(last, std::atoll(tensor.name.c_str() + layers.size()));
  }
  return last + 1 - model.num_hidden_layers;
}

}  // namespace

ExportResult export_model(const ExportOptions& options) {
  const Manifest manifest = read_manifest(find_checkpoint("export", options.model));
  const RunConfig config =
      parse_any_run_config(manifest.configuration, manifest.directory + "/manifest.json");
  if (config.lora.is_on()) return export_adapter(options, manifest);
  const DType dtype = config.precision == DType::kBF16 ? DType::kBF16 : DType::kF32;
  const RunPaths run = run_of_checkpoint(manifest.directory);
  const TokenIds ids = path_exists(run.hub() + "/config.json")
                           ? token_ids_of(run.hub())
                           : token_ids_of(*saved_tokenizer(manifest, config));
  const std::string text =
      hub_config_text(config.model, dtype, extra_layers(manifest, config.model), ids);
  NewFolder made(options.folder);
  const std::string& folder = made.temporary();
  // As they came with the model, or as the run kept its tokenizer.
  for (const char* name : kHubFiles)
    for (const std::string& kept : {run.hub() + "/" + name, run.file(name)})
      if (path_exists(kept) && !path_exists(folder + "/" + name))
        std::filesystem::copy_file(kept, folder + "/" + name);
  replace_file(folder + "/config.json", text);
  const HubConfig outside = parse_hub_config(
      text, {.label = options.folder + "/config.json", .name = "export", .tokenizer = "byte"});
  FolderWriter writer(manifest, folder, items_of(manifest, config, outside.config.model));
  writer.write(options.shard_bytes);
  check_folder(folder, writer.items());
  ExportResult result{.tensors = std::ssize(writer.items()),
                      .files = writer.files(),
                      .family = outside.config.model.model_type};
  for (const Item& item : writer.items()) {
    result.bytes += item.bytes();
    result.dequantised += item.weight.format != Quantization::kNone;
  }
  for (const char* name : {"/tokenizer.json", "/tokenizer.model"})
    result.has_tokenizer = result.has_tokenizer || path_exists(folder + name);
  made.commit();
  return result;
}

}  // namespace orthant
