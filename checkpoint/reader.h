// SPDX-License-Identifier: Apache-2.0
// Finds, verifies and loads checkpoints.  Any layout loads what any other layout wrote.
#pragma once

#include <optional>
#include <span>
#include <string>
#include <vector>

#include "checkpoint/checkpoint_tensor.h"
#include "checkpoint/manifest.h"
#include "parallel/comm/group.h"

namespace orthant {

// `path` is a checkpoint's directory.  Error(kMissingInput) without a manifest, Error(kData) when
// it is damaged.
Manifest read_manifest(const std::string& path);

// The newest checkpoint, by step number, in which everything is right: manifest, sizes and the
// checksum of every file, which the ranks share between them.  Those that are newer but not right
// are passed over with a warning each.  Collective over `world`: all ranks return the same.
// nullopt when there is none at all; Error(kData) when there are some but none can be used, because
// starting afresh would be a silent loss.
std::optional<Manifest> find_newest_valid(const Group& world, const std::string& directory);

struct LoadOptions {
  // Tensors of the checkpoint that no rank wants: allowed when their name starts with one of these.
  std::vector<std::string> unused_prefixes;
  // Verify the checksum of every file first, shared between the ranks; not needed right after
  // find_newest_valid.  Slice checksums are always verified.
  bool verify_files = true;
};

// Fills wanted[i].data, on its device, with the checkpoint's elements.  Collective over `world`: a
// failure on one rank is thrown on all, naming that rank.  Error(kData) naming the tensor: missing,
// of another dtype or shape, damaged, or present but wanted by nobody; found before anything is
// read, except damage, after which the wanted tensors' contents are undefined.
void load_tensors(const Group& world, const Manifest& manifest,
                  std::span<const CheckpointTensor> wanted, const LoadOptions& options = {});

// Everything that can be checked without a model, for `orthant inspect checkpoint` and `verify`.
struct CheckpointReport {
  bool ok = false;
  std::string text;  // lines for people
};
CheckpointReport verify_checkpoint(const std::string& path);

}  // namespace orthant
