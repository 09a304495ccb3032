// SPDX-License-Identifier: Apache-2.0
#include "trainer/hub/import.h"

#include <algorithm>
#include <filesystem>

#include "base/checksum.h"
#include "base/config/config.h"
#include "base/durable_file.h"
#include "base/error.h"
#include "base/log.h"
#include "checkpoint/commit.h"
#include "checkpoint/directory.h"
#include "checkpoint/file_io.h"
#include "checkpoint/new_folder.h"
#include "data/chat_template_files.h"
#include "data/tokenizer.h"
#include "trainer/hub/hub_folder.h"
#include "trainer/hub/hub_model.h"
#include "trainer/hub/wider.h"
#include "trainer/run/run_dir.h"
#include "trainer/run/work_progress.h"
#include "trainer/training_state.h"

namespace orthant {
namespace {

// What is written of the folder: a tensor of the model, or one that is kept as it is.
struct Item {
  std::string name;  // in the checkpoint
  DType dtype;
  Shape shape;
  const ImportTensor* tensor = nullptr;  // null: of HubModel::extra
  std::string source;

  int64_t bytes() const { return shape.numel() * size_of(dtype); }
};

std::vector<Item> items_of(const HubModel& model) {
  std::vector<Item> items;
  for (const ImportTensor& tensor : model.tensors())
    items.push_back({tensor.name, tensor.dtype, tensor.shape, &tensor, tensor.source.name});
  for (const std::string& name : model.extra()) {
    const SafetensorsEntry& entry = *model.source().find(name);
    items.push_back({kHubExtraPrefix + name, entry.dtype, entry.shape, nullptr, name});
  }
  return items;
}

// In the order of the model, as many to a file as it may hold; in a file wide types first, so that
// all are aligned.
std::vector<std::vector<Item>> files_of(std::vector<Item> items, int64_t most_bytes) {
  std::vector<std::vector<Item>> files;
  int64_t bytes = 0;
  for (Item& item : items) {
    if (files.empty() || (bytes > 0 && bytes + item.bytes() > most_bytes)) {
      files.emplace_back();
      bytes = 0;
    }
    bytes += item.bytes();
    files.back().push_back(std::move(item));
  }
  for (std::vector<Item>& file : files)
    std::stable_sort(file.begin(), file.end(), [](const Item& a, const Item& b) {
      return size_of(a.dtype) > size_of(b.dtype);
    });
  return files;
}

std::string bytes_of(const HubModel& model, const Item& item) {
  if (item.tensor) {
    std::string bytes = model.read(*item.tensor);
    const int64_t bad = first_not_finite(bytes, item.dtype);
    ORTHANT_CHECK(bad < 0, kData, model.source().place_of(item.source), ": element ", bad, " of ",
                  item.name, " is NaN or infinite; the file is damaged, or the model diverged");
    return bytes;
  }
  std::string bytes(static_cast<size_t>(item.bytes()), '\0');
  model.source().read(item.source, 0, bytes.data(), item.bytes());
  return bytes;
}

// Writes one file of the checkpoint and enters it in the manifest.
void write_file(const HubModel& model, const std::string& directory, const std::vector<Item>& items,
                int64_t index, Manifest& manifest, WorkProgress& progress) {
  std::vector<SafetensorsEntry> entries;
  for (const Item& item : items)
    entries.push_back({.name = item.name, .dtype = item.dtype, .shape = item.shape});
  const std::string name = shard_name(index, manifest.world_size);
  SafetensorsWriter file(directory + "/" + name, std::move(entries),
                         {{"format", "orthant"},
                          {"run_id", manifest.run_id},
                          {"step", "0"},
                          {"shard", concat(index, " of ", manifest.world_size)}});
  for (const Item& item : items) {
    const std::string bytes = bytes_of(model, item);
    file.append(bytes.data(), static_cast<int64_t>(bytes.size()));
    TensorSlice whole{.begin = std::vector<int64_t>(static_cast<size_t>(item.shape.rank()), 0),
                      .shape = item.shape};
    manifest.tensors.push_back(
        {.name = item.name,
         .dtype = item.dtype,
         .global_shape = item.shape,
         .slices = {{index, std::move(whole), xxh3_128_hex(bytes.data(), bytes.size())}}});
    progress.at(std::ssize(manifest.tensors));
  }
  file.finish();
  manifest.files.push_back({name, file.total_bytes(), file.checksum()});
}

bool has_same_bytes(const TensorSource& source, const std::string& a, const std::string& b) {
  constexpr int64_t kPieceBytes = 1 << 24;
  const SafetensorsEntry &of_a = *source.find(a), &of_b = *source.find(b);
  if (of_a.dtype != of_b.dtype || of_a.shape != of_b.shape) return false;
  const int64_t bytes = of_a.shape.numel() * size_of(of_a.dtype);
  for (int64_t at = 0; at < bytes; at += kPieceBytes) {
    const int64_t size = std::min(kPieceBytes, bytes - at);
    std::string ours(static_cast<size_t>(size), '\0'), theirs = ours;
    source.read(a, at, ours.data(), size);
    source.read(b, at, theirs.data(), size);
    if (ours != theirs) return false;
  }
  return true;
}

// The layer for multi-token prediction shares embedding and head with the model.
void check_copies(const HubModel& model) {
  const TensorSource& source = model.source();
  for (const HubCopy& copy : hub_copies(model.hub().config.model))
    ORTHANT_CHECK(!source.find(copy.name) || has_same_bytes(source, copy.name, copy.ours), kData,
                  source.place_of(copy.name), ": want ", copy.ours,
                  " once more, which a layer for multi-token prediction shares, got another; "
                  "model.num_nextn_predict_layers: 0 does without the layer");
}

void check_no_run(const RunPaths& paths) {
  ORTHANT_CHECK(!path_exists(paths.checkpoints()) && !path_exists(paths.config()), kCannotWrite,
                paths.dir,
                ": is a run already; give a directory that is not there yet, or remove it");
}

Manifest write_checkpoint(const HubModel& model, const ImportOptions& options,
                          const Tokenizer& tokenizer, const RunPaths& paths) {
  const std::vector<std::vector<Item>> files = files_of(items_of(model), options.shard_bytes);
  Manifest manifest{.run_id = model.hub().config.run.name,
                    .world_size = std::ssize(files),
                    .layout = "imported",
                    .configuration = to_yaml(model.hub().config),
                    .extra = {{"tokenizer", tokenizer.name()},
                              {kImportedKey, options.folder},
                              {kSourceKey, source_of(options)}}};
  if (begins_with_bos(model.published(), tokenizer))
    manifest.extra[kBeginKey] = std::to_string(tokenizer.special_ids().bos);
  const std::string id = "import";
  const std::string directory = paths.checkpoints() + "/" + temporary_name(0, id);
  make_folders(directory);
  int64_t total = 0;
  for (const std::vector<Item>& items : files) total += std::ssize(items);
  WorkProgress progress({.command = "import", .noun = "tensor", .total = total});
  for (size_t i = 0; i < files.size(); ++i) {
    write_file(model, directory, files[i], static_cast<int64_t>(i), manifest, progress);
    if (files.size() > 1) log::info("import: file ", i + 1, " of ", files.size(), " is written");
  }
  std::sort(manifest.tensors.begin(), manifest.tensors.end(),
            [](const ManifestTensor& a, const ManifestTensor& b) { return a.name < b.name; });
  commit_checkpoint({.directory = paths.checkpoints(), .id = id, .keep = 2, .manifest = manifest});
  return manifest;
}

// Files that go with the weights.
void keep_files(const PublishedModel& published, const RunPaths& paths) {
  make_folders(paths.hub());
  for (const auto& [name, content] : published.files)
    replace_file(paths.hub() + "/" + name, content);
}

Manifest write_run(const HubModel& model, const ImportOptions& options, const Tokenizer& tokenizer,
                   const RunPaths& paths) {
  keep_files(model.published(), paths);
  for (const ModelFile& file : tokenizer.model_files())
    replace_file(paths.file(file.name), file.content);
  Manifest manifest = write_checkpoint(model, options, tokenizer, paths);
  replace_file(paths.config(), to_yaml(model.hub().config));
  return manifest;
}

// The run is of use without its template, so this refuses nothing.
void check_chat_template(const RunPaths& paths) {
  try {
    ChatTemplates::load(paths.hub());
  } catch (const Error& error) {
    if (error.kind() != ErrorKind::kMissingInput)
      log::warn("import: the chat template cannot be used, so chat will not work: ", error.what());
  }
}

}  // namespace

std::string source_of(const ImportOptions& options) {
  return identity_of(options.folder) + (options.predicts_further ? ", and predicts further" : "");
}

ImportResult import_model(const ImportOptions& options) {
  const RunPaths paths{options.run_dir};
  check_no_run(paths);
  PublishedModel published = open_published(options.folder);
  const std::string tokenizer_path = published.is_gguf ? paths.hub() : options.folder;
  const HubModel model(std::move(published), tokenizer_path, options.predicts_further);
  check_copies(model);
  const std::unique_ptr<Tokenizer> tokenizer = model.published().tokenizer();
  const int64_t vocab = model.hub().config.model.vocab_size;
  ORTHANT_CHECK(tokenizer->vocab_size() <= vocab, kData, options.folder, ": its tokenizer has ",
                tokenizer->vocab_size(), " tokens, and ", model.published().described_by,
                " a vocabulary of ", vocab);
  NewFolder folder(options.run_dir);
  const Manifest manifest = write_run(model, options, *tokenizer, {folder.temporary()});
  folder.commit();
  check_chat_template(paths);
  ImportResult result{.tensors = std::ssize(model.tensors()),
                      .bytes = manifest.bytes(),
                      .checkpoint = paths.checkpoints() + "/" + step_name(0)};
  for (const ImportTensor& tensor : model.tensors()) result.parameters += tensor.shape.numel();
  return result;
}

}  // namespace orthant
