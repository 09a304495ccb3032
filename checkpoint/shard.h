// SPDX-License-Identifier: Apache-2.0
// One rank's file of a checkpoint.  Local; runs on a helper thread.
#pragma once

#include <atomic>
#include <cstdint>
#include <string>
#include <vector>

#include "checkpoint/save_plan.h"

namespace orthant {

struct ShardJob {
  std::string directory;  // the checkpoint's temporary one; made when it is not there
  std::string run_id;
  int64_t step = 0, rank = 0, world_size = 1;
  struct Item {
    std::string key;
    Shape shape;
    Tensor data;  // on the host
  };
  std::vector<Item> items;
};

struct ShardResult {
  int64_t bytes = 0;
  std::string checksum;
  std::vector<std::string> item_checksums;
};

// Writes, synchronises and checksums the file.  Error(kCannotWrite); Error(kInterrupted) soon after
// `cancelled` was set.
ShardResult write_shard(const ShardJob& job, const std::atomic<bool>& cancelled);

// As one text for Group::gather_text, and back.
std::string to_text(const ShardResult& result);
ShardResult shard_result_from(const std::string& text);

}  // namespace orthant
