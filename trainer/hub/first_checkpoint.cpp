// SPDX-License-Identifier: Apache-2.0
#include "trainer/hub/first_checkpoint.h"

#include <algorithm>

#include "base/checksum.h"
#include "base/durable_file.h"
#include "base/error.h"
#include "base/log.h"
#include "checkpoint/commit.h"
#include "checkpoint/directory.h"
#include "checkpoint/file_io.h"
#include "checkpoint/safetensors.h"
#include "trainer/hub/published_model.h"
#include "trainer/run/work_progress.h"

namespace orthant {
namespace {

// In a file wide types first, so that all are aligned.
std::vector<std::vector<FirstTensor>> files_of(std::vector<FirstTensor> tensors,
                                               int64_t most_bytes) {
  std::vector<std::vector<FirstTensor>> files;
  int64_t bytes = 0;
  for (FirstTensor& tensor : tensors) {
    if (files.empty() || (bytes > 0 && bytes + tensor.bytes() > most_bytes)) {
      files.emplace_back();
      bytes = 0;
    }
    bytes += tensor.bytes();
    files.back().push_back(std::move(tensor));
  }
  for (std::vector<FirstTensor>& file : files)
    std::stable_sort(file.begin(), file.end(), [](const FirstTensor& a, const FirstTensor& b) {
      return size_of(a.dtype) > size_of(b.dtype);
    });
  return files;
}

// Writes one file of the checkpoint and enters it in the manifest.
void write_file(const std::string& directory, const std::vector<FirstTensor>& tensors,
                int64_t index, Manifest& manifest, WorkProgress& progress) {
  std::vector<SafetensorsEntry> entries;
  for (const FirstTensor& tensor : tensors)
    entries.push_back({.name = tensor.name, .dtype = tensor.dtype, .shape = tensor.shape});
  const std::string name = shard_name(index, manifest.world_size);
  SafetensorsWriter file(directory + "/" + name, std::move(entries),
                         {{"format", "orthant"},
                          {"run_id", manifest.run_id},
                          {"step", "0"},
                          {"shard", concat(index, " of ", manifest.world_size)}});
  for (const FirstTensor& tensor : tensors) {
    const std::string bytes = tensor.read();
    file.append(bytes.data(), static_cast<int64_t>(bytes.size()));
    TensorSlice whole{.begin = std::vector<int64_t>(static_cast<size_t>(tensor.shape.rank()), 0),
                      .shape = tensor.shape};
    manifest.tensors.push_back(
        {.name = tensor.name,
         .dtype = tensor.dtype,
         .global_shape = tensor.shape,
         .slices = {{index, std::move(whole), xxh3_128_hex(bytes.data(), bytes.size())}}});
    progress.at(std::ssize(manifest.tensors));
  }
  file.finish();
  manifest.files.push_back({name, file.total_bytes(), file.checksum()});
}

}  // namespace

void check_new_run(const RunPaths& paths) {
  ORTHANT_CHECK(!path_exists(paths.checkpoints()) && !path_exists(paths.config()), kCannotWrite,
                paths.dir,
                ": is a run already; give a directory that is not there yet, or remove it");
}

void keep_run_files(const RunPaths& from, const RunPaths& to) {
  constexpr int64_t kMaxKeptBytes = int64_t{1} << 30;
  make_folders(to.hub());
  const auto keep = [](const std::string& source, const std::string& target) {
    if (path_exists(source)) replace_file(target, read_text_file(source, kMaxKeptBytes));
  };
  for (const char* name : kHubFiles) {
    keep(from.hub() + "/" + name, to.hub() + "/" + name);
    if (std::string(name).starts_with("tokenizer.")) keep(from.file(name), to.file(name));
  }
}

Manifest write_first_checkpoint(const std::string& command, const RunPaths& paths,
                                Manifest manifest, std::vector<FirstTensor> tensors,
                                int64_t shard_bytes) {
  WorkProgress progress({.command = command, .noun = "tensor", .total = std::ssize(tensors)});
  const std::vector<std::vector<FirstTensor>> files = files_of(std::move(tensors), shard_bytes);
  manifest.step = 0;
  manifest.world_size = std::ssize(files);
  manifest.files.clear();
  manifest.tensors.clear();
  const std::string directory = paths.checkpoints() + "/" + temporary_name(0, command);
  remove_temporaries(paths.checkpoints());
  make_folders(directory);
  for (size_t i = 0; i < files.size(); ++i) {
    write_file(directory, files[i], static_cast<int64_t>(i), manifest, progress);
    if (files.size() > 1) log::info(command, ": file ", i + 1, " of ", files.size(), " is written");
  }
  std::sort(manifest.tensors.begin(), manifest.tensors.end(),
            [](const ManifestTensor& a, const ManifestTensor& b) { return a.name < b.name; });
  commit_checkpoint(
      {.directory = paths.checkpoints(), .id = command, .keep = 2, .manifest = manifest});
  return manifest;
}

}  // namespace orthant
