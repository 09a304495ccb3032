// SPDX-License-Identifier: Apache-2.0
// What a checkpoint's files must be, given its manifest.  Local; every function throws Error(kData)
// or Error(kMissingInput) that names file and tensor.
#pragma once

#include <string>

#include "checkpoint/manifest.h"
#include "checkpoint/safetensors.h"

namespace orthant {

std::string file_path(const Manifest& manifest, int64_t file);
// Every file is there and has the recorded size.
void check_file_sizes(const Manifest& manifest);
// The whole file has the recorded checksum.
void check_file(const Manifest& manifest, int64_t file);
// The same for every count-th file from `first` on: the ranks share the files.
void check_files(const Manifest& manifest, int64_t first, int64_t count);
// The shard is of this run and step, and has the manifest's slices of it and no others.
void check_shard_header(const Manifest& manifest, int64_t file, const SafetensorsReader& reader);
// Reads a slice's bytes, which have the recorded checksum.
void read_slice(const ManifestTensor& tensor, const ManifestSlice& slice,
                const SafetensorsReader& reader, std::string& bytes);

}  // namespace orthant
