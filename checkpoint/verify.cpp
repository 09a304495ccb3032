// SPDX-License-Identifier: Apache-2.0
#include "checkpoint/verify.h"

#include <algorithm>

#include "base/checksum.h"
#include "base/problems.h"
#include "checkpoint/directory.h"
#include "checkpoint/reader.h"

namespace orthant {
namespace {

const std::string& metadata_of(const SafetensorsReader& reader, const char* key) {
  static const std::string none;
  const auto found = reader.metadata().find(key);
  return found == reader.metadata().end() ? none : found->second;
}

std::vector<ManifestSlice> slices_in(const ManifestTensor& tensor, int64_t file) {
  std::vector<ManifestSlice> slices;
  std::copy_if(tensor.slices.begin(), tensor.slices.end(), std::back_inserter(slices),
               [&](const ManifestSlice& slice) { return slice.file == file; });
  return slices;
}

void verify_file(const Manifest& manifest, int64_t file, Problems& problems) {
  problems.collect([&] { check_file(manifest, file); });
  problems.collect([&] {
    const SafetensorsReader reader(file_path(manifest, file));
    check_shard_header(manifest, file, reader);
    std::string bytes;
    for (const ManifestTensor& tensor : manifest.tensors) {
      for (const ManifestSlice& slice : slices_in(tensor, file)) {
        problems.collect([&] { read_slice(tensor, slice, reader, bytes); });
      }
    }
  });
}

void find_strangers(const Manifest& manifest, std::vector<std::string>& notes) {
  for (const std::string& name : list_directory(manifest.directory)) {
    const bool known = name == kManifestName ||
                       std::any_of(manifest.files.begin(), manifest.files.end(),
                                   [&](const ManifestFile& file) { return file.name == name; });
    if (!known) notes.push_back(concat("note: ", name, " does not belong to the checkpoint"));
  }
}

}  // namespace

std::string file_path(const Manifest& manifest, int64_t file) {
  return manifest.directory + "/" + manifest.files[static_cast<size_t>(file)].name;
}

void check_file_sizes(const Manifest& manifest) {
  for (size_t i = 0; i < manifest.files.size(); ++i) {
    const InputFile file(file_path(manifest, static_cast<int64_t>(i)));
    ORTHANT_CHECK(file.bytes() == manifest.files[i].bytes, kData, file.path(), ": want ",
                  manifest.files[i].bytes, " bytes, got ", file.bytes());
  }
}

void check_file(const Manifest& manifest, int64_t file) {
  const ManifestFile& wanted = manifest.files[static_cast<size_t>(file)];
  const InputFile input(file_path(manifest, file));
  ORTHANT_CHECK(input.bytes() == wanted.bytes, kData, input.path(), ": want ", wanted.bytes,
                " bytes, got ", input.bytes());
  const std::string actual = input.checksum();
  ORTHANT_CHECK(actual == wanted.checksum, kData, input.path(), ": damaged: checksum ", actual,
                ", recorded ", wanted.checksum);
}

void check_files(const Manifest& manifest, int64_t first, int64_t count) {
  for (int64_t i = first; i < static_cast<int64_t>(manifest.files.size()); i += count) {
    check_file(manifest, i);
  }
}

void check_shard_header(const Manifest& manifest, int64_t file, const SafetensorsReader& reader) {
  const std::string& run = metadata_of(reader, "run_id");
  const std::string& step = metadata_of(reader, "step");
  ORTHANT_CHECK(run == manifest.run_id && step == std::to_string(manifest.step), kData,
                reader.path(), ": is of run '", run, "' step ", step, ", want run '",
                manifest.run_id, "' step ", manifest.step);
  size_t found = 0;
  for (const ManifestTensor& tensor : manifest.tensors) {
    for (const ManifestSlice& slice : tensor.slices) {
      if (slice.file != file) continue;
      const std::string key = slice_key(tensor.name, tensor.global_shape, slice.slice);
      const SafetensorsEntry* entry = reader.find(key);
      ORTHANT_CHECK(entry != nullptr, kData, reader.path(), ": tensor ", key, " is missing");
      const Shape shape = slice_entry_shape(slice.slice);
      ORTHANT_CHECK(entry->dtype == tensor.dtype && entry->shape == shape, kData, reader.path(),
                    ": tensor ", key, ": want ", name_of(tensor.dtype), " ", shape.text(), ", got ",
                    name_of(entry->dtype), " ", entry->shape.text());
      ++found;
    }
  }
  ORTHANT_CHECK(found == reader.entries().size(), kData, reader.path(), ": want ", found,
                " tensors, got ", reader.entries().size());
}

void read_slice(const ManifestTensor& tensor, const ManifestSlice& slice,
                const SafetensorsReader& reader, std::string& bytes) {
  const std::string key = slice_key(tensor.name, tensor.global_shape, slice.slice);
  const SafetensorsEntry* entry = reader.find(key);
  ORTHANT_CHECK(entry != nullptr, kData, reader.path(), ": tensor ", key, " is missing");
  bytes.resize(static_cast<size_t>(entry->end - entry->begin));
  reader.read(*entry, 0, bytes.data(), static_cast<int64_t>(bytes.size()));
  const std::string actual = xxh3_128_hex(bytes.data(), bytes.size());
  ORTHANT_CHECK(actual == slice.checksum, kData, reader.path(), ": tensor ", key,
                ": damaged: checksum ", actual, ", recorded ", slice.checksum);
}

CheckpointReport verify_checkpoint(const std::string& path) {
  CheckpointReport report;
  std::vector<std::string> lines;
  Problems problems;
  problems.collect([&] {
    const Manifest manifest = read_manifest(path);
    int64_t slices = 0, elements = 0;
    for (const ManifestTensor& tensor : manifest.tensors) {
      slices += static_cast<int64_t>(tensor.slices.size());
      elements += tensor.global_shape.numel();
    }
    lines.push_back(concat(path, ": run '", manifest.run_id, "', step ", manifest.step, ", sample ",
                           manifest.samples, ", written by ", manifest.world_size, " ranks",
                           manifest.layout.empty() ? "" : " (" + manifest.layout + ")"));
    lines.push_back(concat(manifest.tensors.size(), " tensors, ", elements, " elements, ", slices,
                           " slices in ", manifest.files.size(), " files, ",
                           human_bytes(static_cast<double>(manifest.bytes()))));
    for (size_t i = 0; i < manifest.files.size(); ++i) {
      verify_file(manifest, static_cast<int64_t>(i), problems);
    }
    find_strangers(manifest, lines);
  });
  report.ok = problems.empty();
  for (const std::string& line : lines) report.text += line + "\n";
  for (const std::string& problem : problems.lines()) report.text += "damaged: " + problem + "\n";
  report.text += report.ok
                     ? "every checksum is right; every element is there exactly once\n"
                     : concat(problems.lines().size(), " problems: do not use this checkpoint\n");
  return report;
}

}  // namespace orthant
