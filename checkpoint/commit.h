// SPDX-License-Identifier: Apache-2.0
// The last part of a save, on rank 0 alone, once every shard is durable: manifest, rename,
// `latest`, removal of old checkpoints.  Runs on a helper thread.
#pragma once

#include <cstdint>
#include <string>

#include "checkpoint/manifest.h"

namespace orthant {

struct CommitJob {
  std::string directory;  // <run>/checkpoints
  std::string id;         // of this attempt
  int64_t keep = 2;
  int64_t kept_step = -1;  // stays beside those
  Manifest manifest;
};

// Makes the checkpoint visible.  Returns lines of warning about what failed afterwards, when the
// checkpoint was already safe.  Error(kCannotWrite) when it did not become one.
std::string commit_checkpoint(const CommitJob& job);

// Removes what unfinished saves and removals left.
void remove_temporaries(const std::string& directory);

}  // namespace orthant
