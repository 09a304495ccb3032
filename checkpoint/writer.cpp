// SPDX-License-Identifier: Apache-2.0
// Invariants:
// (I1) A directory named step-* appears by one rename, after everything in it is durable: shards
//      are synchronised before their rank votes, the manifest is written after the vote of all
//      ranks.
// (I2) Nothing is removed before the parent directory of the rename is synchronised.
// (I3) Every decision follows from values that a collective gave to all ranks (votes, outcomes), so
//      all ranks are in the same phase whenever they call a method.
// (I4) Helper threads touch files and their own copies only: never a Group, never the caller's
//      tensors.
// (I5) At most one save is under way, and each has a temporary directory of its own.
//
//   kIdle --save--> kWriting --all voted--> kCommitting (rank 0 works) --outcome--> kIdle
//                      `----- any rank failed: remove, warn, count -----'
#include "checkpoint/writer.h"

#include <unistd.h>

#include <chrono>
#include <cstdio>
#include <map>

#include "base/checksum.h"
#include "base/clock.h"
#include "base/context.h"
#include "base/durable_file.h"
#include "base/error.h"
#include "base/log.h"
#include "checkpoint/background.h"
#include "checkpoint/commit.h"
#include "checkpoint/directory.h"
#include "checkpoint/file_io.h"
#include "checkpoint/save_plan.h"
#include "checkpoint/shard.h"

namespace orthant {
namespace {

constexpr int64_t kMaxFailures = 3;

std::string new_id() {
  static std::atomic<uint64_t> count{0};
  const uint64_t seed[3] = {
      static_cast<uint64_t>(std::chrono::system_clock::now().time_since_epoch().count()),
      static_cast<uint64_t>(getpid()), count.fetch_add(1)};
  return xxh3_128_hex(seed, sizeof(seed)).substr(0, 8);
}

// Rank 0: the directory exists, takes new files, and holds nothing unfinished.
void prepare_directory(const std::string& directory) {
  make_folders(directory);
  const std::string probe = concat(directory, "/tmp-step-probe-", new_id());
  write_text_file(probe, "orthant");
  remove_temporaries(directory);  // the probe too
}

std::string padded_seconds(double seconds) {
  char text[32];
  std::snprintf(text, sizeof(text), "%.3f s", seconds);
  return text;
}

// "rank 1: ...; rank 3: ...": of texts that are not empty.
std::string failures_text(const std::vector<std::string>& errors) {
  std::string text;
  for (size_t r = 0; r < errors.size(); ++r) {
    if (!errors[r].empty()) text += concat(text.empty() ? "" : "; ", "rank ", r, ": ", errors[r]);
  }
  return text;
}

}  // namespace

struct CheckpointWriter::State {
  enum class Phase { kIdle, kWriting, kCommitting };

  Group world;
  std::string directory;
  Options options;

  Phase phase = Phase::kIdle;
  int64_t last_step = -1, failures = 0;
  bool last_ok = true;
  double stall_seconds = 0;

  int64_t kept_step = -1;

  std::string table;                 // this rank's, of the last save
  std::vector<ManifestTensor> plan;  // from everybody's tables
  std::vector<ShardItem> items;      // what this rank writes

  int64_t step = -1;  // of the pending save, with the following
  std::string id;
  CheckpointMeta meta;
  double started = 0;
  BackgroundTask task;

  void agree_on_attempt(int64_t wanted_step, const std::string& new_table);
  ShardJob copy_to_host(std::span<const CheckpointTensor> tensors) const;
  Manifest make_manifest(const std::vector<std::string>& results) const;
  void start_commit(const std::vector<std::string>& results);
  void complete(const std::string& warnings, int64_t bytes);
  void fail(const std::string& reason);
  [[noreturn]] void throw_timeout();
  std::string temporary() const { return directory + "/" + temporary_name(step, id); }
  int64_t committed_bytes = 0;
};

CheckpointWriter::CheckpointWriter(Group world, std::string directory, Options options)
    : state_(std::make_unique<State>()) {
  ORTHANT_CHECK(options.keep >= 2, kConfig, "checkpoint.keep: want at least 2, got ", options.keep,
                ": with fewer, one damaged file would lose the run");
  state_->world = std::move(world);
  state_->directory = std::move(directory);
  state_->options = std::move(options);
  std::string error;
  if (state_->world.rank() == 0) {
    try {
      prepare_directory(state_->directory);
    } catch (const Error& problem) {
      error = problem.what();
    }
  }
  error = state_->world.gather_text(error).front();
  ORTHANT_CHECK(error.empty(), kCannotWrite, "checkpoints: ", error);
}

CheckpointWriter::~CheckpointWriter() = default;

void CheckpointWriter::keep_step(int64_t step) { state_->kept_step = step; }
bool CheckpointWriter::pending() const { return state_->phase != State::Phase::kIdle; }
int64_t CheckpointWriter::last_step() const { return state_->last_step; }
int64_t CheckpointWriter::failures_in_a_row() const { return state_->failures; }
double CheckpointWriter::stall_seconds() const { return state_->stall_seconds; }

void CheckpointWriter::save(int64_t step, std::span<const CheckpointTensor> tensors,
                            const CheckpointMeta& meta) {
  State& s = *state_;
  const double start = now_seconds();
  if (pending()) {
    log::info("checkpoint ", step_name(step), " waits for ", step_name(s.step));
    finish();
  }
  s.agree_on_attempt(step, slice_table_text(tensors));
  s.meta = meta;
  s.started = now_seconds();
  s.phase = State::Phase::kWriting;
  s.last_ok = false;
  try {
    s.task.start([job = s.copy_to_host(tensors)](const std::atomic<bool>& cancelled) {
      return to_text(write_shard(job, cancelled));
    });
  } catch (const std::exception& error) {  // no memory for the copy: the vote tells everybody
    s.task.set_failed(error.what());
  }
  s.stall_seconds = now_seconds() - start;
  if (!s.options.asynchronous) finish();
}

// One small exchange per save, and the tables only when one changed.
void CheckpointWriter::State::agree_on_attempt(int64_t wanted_step, const std::string& new_table) {
  const bool changed = plan.empty() || new_table != table;
  const std::string mine = concat(changed ? "changed " : "same ", wanted_step, " ", new_id());
  bool any_changed = false;
  const std::vector<std::string> all = world.gather_text(mine);
  for (size_t r = 0; r < all.size(); ++r) {
    any_changed = any_changed || all[r].starts_with("changed");
    const std::string its_step = all[r].substr(all[r].find(' ') + 1);
    ORTHANT_CHECK(std::stoll(its_step) == wanted_step, kInternal, "checkpoint: rank ", world.rank(),
                  " saves step ", wanted_step, ", rank ", r, " saves step ", std::stoll(its_step));
  }
  ORTHANT_CHECK(wanted_step >= 0, kInternal, "checkpoint: want a step >= 0, got ", wanted_step);
  if (any_changed) {
    table.clear();
    plan = make_save_plan(world.gather_text(new_table));
    items = shard_items(plan, world.rank());
    table = new_table;
  }
  step = wanted_step;
  id = all.front().substr(all.front().rfind(' ') + 1);
}

ShardJob CheckpointWriter::State::copy_to_host(std::span<const CheckpointTensor> tensors) const {
  const CategoryScope scope(MemoryCategory::kWorkspace);
  std::map<std::string, const CheckpointTensor*> by_key;
  for (const CheckpointTensor& tensor : tensors) {
    by_key[slice_key(tensor.name, tensor.global_shape, tensor.slice())] = &tensor;
  }
  ShardJob job{.directory = temporary(),
               .run_id = options.run_id,
               .step = step,
               .rank = world.rank(),
               .world_size = world.size()};
  for (const ShardItem& item : items) {
    const ManifestTensor& tensor = plan[item.tensor];
    const TensorSlice& slice = tensor.slices[item.slice].slice;
    std::string key = slice_key(tensor.name, tensor.global_shape, slice);
    const Tensor& data = by_key.at(key)->data;
    const Tensor host = Tensor::empty(data.shape(), data.dtype());
    copy(data, host);
    job.items.push_back({std::move(key), slice_entry_shape(slice), host});
  }
  return job;
}

void CheckpointWriter::poll() {
  State& s = *state_;
  if (!pending()) return;
  const bool late = s.world.rank() == 0 && now_seconds() - s.started > s.options.timeout_seconds;
  const double votes[2] = {s.task.is_done() ? 0.0 : 1.0, late ? 1.0 : 0.0};
  const std::vector<double> sums = s.world.sum(votes);
  if (sums[0] > 0) {
    if (sums[1] > 0) s.throw_timeout();
    return;
  }
  const std::string failures = failures_text(s.world.gather_text(s.task.error()));
  if (!failures.empty()) {
    s.fail(failures);
  } else if (s.phase == State::Phase::kWriting) {
    s.start_commit(s.world.gather_text(s.task.result()));
  } else {
    s.complete(s.world.rank() == 0 ? s.task.result() : "", s.committed_bytes);
  }
}

bool CheckpointWriter::finish() {
  while (pending()) {
    state_->task.wait_at_most(0.02);
    poll();
  }
  return state_->last_ok;
}

Manifest CheckpointWriter::State::make_manifest(const std::vector<std::string>& results) const {
  Manifest manifest{.run_id = options.run_id,
                    .step = step,
                    .samples = meta.samples,
                    .world_size = world.size(),
                    .layout = meta.layout,
                    .configuration = meta.configuration,
                    .extra = meta.extra,
                    .tensors = plan};
  for (size_t r = 0; r < results.size(); ++r) {
    const ShardResult result = shard_result_from(results[r]);
    const auto rank = static_cast<int64_t>(r);
    manifest.files.push_back({shard_name(rank, world.size()), result.bytes, result.checksum});
    const std::vector<ShardItem> its_items = shard_items(plan, rank);
    for (size_t i = 0; i < its_items.size(); ++i) {
      manifest.tensors[its_items[i].tensor].slices[its_items[i].slice].checksum =
          result.item_checksums.at(i);
    }
  }
  return manifest;
}

void CheckpointWriter::State::start_commit(const std::vector<std::string>& results) {
  phase = Phase::kCommitting;
  committed_bytes = 0;
  for (const std::string& result : results) committed_bytes += shard_result_from(result).bytes;
  if (world.rank() != 0) return;  // its task stays done
  try {
    task.start([job = CommitJob{directory, id, options.keep, kept_step, make_manifest(results)}](
                   const std::atomic<bool>&) { return commit_checkpoint(job); });
  } catch (const std::exception& error) {
    task.set_failed(error.what());
  }
}

void CheckpointWriter::State::complete(const std::string& warnings, int64_t bytes) {
  phase = Phase::kIdle;
  last_step = step;
  last_ok = true;
  failures = 0;
  log::info("checkpoint ", step_name(step), ": ", human_bytes(static_cast<double>(bytes)),
            " complete after ", padded_seconds(now_seconds() - started), ", the step waited ",
            padded_seconds(stall_seconds));
  if (!warnings.empty()) log::warn(warnings.substr(0, warnings.size() - 1));
}

void CheckpointWriter::State::fail(const std::string& reason) {
  phase = Phase::kIdle;
  ++failures;
  const std::string text =
      concat("checkpoint ", step_name(step), " was not saved: ", reason, "; ",
             last_step < 0 ? "earlier checkpoints are" : step_name(last_step) + " is",
             " untouched; failure ", failures, " of ", kMaxFailures, " in a row");
  if (world.rank() == 0) {
    try {
      remove_tree(temporary());
    } catch (const Error& error) {
      log::warn(error.what());
    }
  }
  ORTHANT_CHECK(failures < kMaxFailures, kCannotWrite, text,
                ": free space or correct run.dir, then run the same command to go on");
  log::warn(text, "; training goes on");
}

void CheckpointWriter::State::throw_timeout() {
  std::string late;
  const std::vector<std::string> busy = world.gather_text(task.is_done() ? "" : "busy");
  for (size_t r = 0; r < busy.size(); ++r) {
    if (!busy[r].empty()) late += concat(late.empty() ? "" : ", ", r);
  }
  task.abandon();
  phase = Phase::kIdle;
  throw Error(ErrorKind::kCannotWrite,
              concat("checkpoint ", step_name(step), ": no vote after ", options.timeout_seconds,
                     " s from ranks ", late, ", which write to ", temporary(),
                     ": is the file system stuck?"));
}

}  // namespace orthant
