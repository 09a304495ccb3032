// SPDX-License-Identifier: Apache-2.0
#include "checkpoint/shard.h"

#include <algorithm>
#include <sstream>

#include "base/checksum.h"
#include "base/context.h"
#include "base/durable_file.h"
#include "base/error.h"
#include "checkpoint/directory.h"
#include "checkpoint/safetensors.h"

namespace orthant {
namespace {

constexpr int64_t kPieceBytes = int64_t{8} << 20;  // between two looks at `cancelled`

// Passes the middle of the file once.
class Progress {
 public:
  Progress(const ShardJob& job, const std::atomic<bool>& cancelled)
      : step_(job.step), cancelled_(cancelled) {
    for (const ShardJob::Item& item : job.items) left_ += item.data.bytes();
    half_ = left_ / 2;
  }
  void advance(int64_t bytes) {
    ORTHANT_CHECK(!cancelled_.load(std::memory_order_relaxed), kInterrupted, "checkpoint ",
                  step_name(step_), ": given up");
    left_ -= bytes;
    if (left_ <= half_ && !passed_) {
      passed_ = true;
      failpoint("checkpoint.mid_shard", step_);
    }
  }

 private:
  int64_t step_, left_ = 0, half_ = 0;
  bool passed_ = false;
  const std::atomic<bool>& cancelled_;
};

}  // namespace

ShardResult write_shard(const ShardJob& job, const std::atomic<bool>& cancelled) {
  failpoint("checkpoint.before_write", job.step);
  make_folders(job.directory);
  std::vector<SafetensorsEntry> entries;
  for (const ShardJob::Item& item : job.items) {
    entries.push_back({.name = item.key, .dtype = item.data.dtype(), .shape = item.shape});
  }
  const std::string path = job.directory + "/" + shard_name(job.rank, job.world_size);
  SafetensorsWriter file(path, std::move(entries),
                         {{"format", "orthant"},
                          {"run_id", job.run_id},
                          {"step", std::to_string(job.step)},
                          {"shard", concat(job.rank, " of ", job.world_size)}});
  ShardResult result;
  Progress progress(job, cancelled);
  progress.advance(0);
  for (const ShardJob::Item& item : job.items) {
    const char* data = static_cast<const char*>(item.data.data());
    Checksum checksum;
    for (int64_t at = 0; at < item.data.bytes(); at += kPieceBytes) {
      const int64_t count = std::min(kPieceBytes, item.data.bytes() - at);
      checksum.update(data + at, static_cast<size_t>(count));
      file.append(data + at, count);
      progress.advance(count);
    }
    result.item_checksums.push_back(checksum.hex());
  }
  failpoint("checkpoint.before_fsync", job.step);
  file.finish();
  sync_folder(job.directory);
  result.bytes = file.total_bytes();
  result.checksum = file.checksum();
  failpoint("checkpoint.before_vote", job.step);
  return result;
}

std::string to_text(const ShardResult& result) {
  std::string text = concat(result.bytes, " ", result.checksum);
  for (const std::string& checksum : result.item_checksums) text += "\n" + checksum;
  return text;
}

ShardResult shard_result_from(const std::string& text) {
  ShardResult result;
  std::istringstream in(text);
  in >> result.bytes >> result.checksum;
  for (std::string checksum; in >> checksum;) result.item_checksums.push_back(checksum);
  return result;
}

}  // namespace orthant
