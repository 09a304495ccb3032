// SPDX-License-Identifier: Apache-2.0
// manifest.json: what a checkpoint holds and where.  It is written last, so its presence means that
// everything else is there; docs/formats.md describes the file.
//
// Pure functions of text; local to the calling rank.  Whatever parse_manifest returns is
// consistent: its checksum is right, and every element of every tensor is held exactly once.
#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <string_view>
#include <vector>

#include "parallel/reshard.h"
#include "tensor/dtype.h"

namespace orthant {

inline constexpr int64_t kManifestVersion = 1;
inline constexpr int64_t kMaxManifestBytes = int64_t{1} << 30;

struct ManifestFile {
  std::string name;  // inside the checkpoint's directory
  int64_t bytes = 0;
  std::string checksum;  // xxh3-128 of the whole file
};

struct ManifestSlice {
  int64_t file = 0;  // index into Manifest::files
  TensorSlice slice;
  std::string checksum;  // xxh3-128 of the slice's bytes
};

struct ManifestTensor {
  std::string name;
  DType dtype = DType::kF32;
  Shape global_shape;
  std::vector<ManifestSlice> slices;
};

struct Manifest {
  std::string run_id;
  int64_t step = 0;
  int64_t samples = 0;                       // data position
  int64_t world_size = 1;                    // of the job that wrote it
  std::string layout;                        // of that job, for people: "pp 2 x dp 4"
  std::string configuration;                 // the resolved YAML
  std::map<std::string, std::string> extra;  // ISA level, data fingerprints, token counts, ...
  std::vector<ManifestFile> files;
  std::vector<ManifestTensor> tensors;  // sorted by name

  std::string directory;  // where it was found; not part of the file

  const ManifestTensor* find(std::string_view name) const;  // null when there is none
  int64_t bytes() const;                                    // of all files
};

// Letters, digits, '.', '_' and '-' only, and not empty; a file name does not start with a dot.
bool is_manifest_name(std::string_view name);
// The key of a slice in its safetensors file: the tensor's name when it is whole, else
// "name[0:4,8:16]", with "{12:24}" behind it for a range of the rectangle's elements.
std::string slice_key(const std::string& name, const Shape& global_shape, const TensorSlice& slice);
// The shape of that entry: the rectangle's, or one dimension for a range.
Shape slice_entry_shape(const TensorSlice& slice);

std::string manifest_text(const Manifest& manifest);
// Error(kData), naming `path` and the tensor or field: malformed, damaged, of another format
// version, or with elements missing or held twice.
Manifest parse_manifest(const std::string& text, const std::string& path);

}  // namespace orthant
