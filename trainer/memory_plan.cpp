// SPDX-License-Identifier: Apache-2.0
#include "trainer/memory_plan.h"

#include <algorithm>

#include "base/context.h"
#include "base/text.h"
#include "parallel/comm/threads/run_ranks.h"
#include "trainer/engine.h"

namespace orthant {
namespace {

// What memory depends on of a batch: its shape, and that its tokens count.
Batch batch_of(const BatchConfig& sizes) {
  Batch batch;
  batch.sequences = sizes.micro_batch_size;
  batch.length = sizes.sequence_length;
  const auto tokens = static_cast<size_t>(batch.sequences * batch.length);
  batch.ids.assign(tokens, 1);
  batch.labels.assign(tokens, 1);
  batch.positions.assign(tokens, 0);
  batch.doc_start.assign(tokens, 0);
  batch.sample_ids.assign(static_cast<size_t>(batch.sequences), 0);
  return batch;
}

std::vector<int64_t> numbers_of(const MemoryPeaks& peaks) {
  std::vector<int64_t> numbers(peaks.each.by_category.begin(), peaks.each.by_category.end());
  numbers.insert(numbers.end(), peaks.at_peak.by_category.begin(), peaks.at_peak.by_category.end());
  numbers.push_back(peaks.step_bytes);
  numbers.push_back(peaks.block_bytes);
  return numbers;
}

MemoryPeaks peaks_of(const int64_t* numbers) {
  MemoryPeaks peaks;
  for (int64_t& bytes : peaks.each.by_category) bytes = *numbers++;
  for (int64_t& bytes : peaks.at_peak.by_category) bytes = *numbers++;
  peaks.step_bytes = *numbers++;
  peaks.block_bytes = *numbers++;
  return peaks;
}

}  // namespace

std::vector<MemoryPeaks> predict_memory(const RunConfig& config, int num_ranks) {
  RunConfig meta = config;
  meta.device = "meta";
  const int64_t micro_batches = config.batch.micro_batches() / config.parallel.data_parallel_size;
  // A ramp's steps hold no more than the whole batch's.
  meta.batch.ramp_start = meta.batch.ramp_increment = meta.batch.ramp_samples = 0;
  const std::vector<Batch> batches(static_cast<size_t>(micro_batches), batch_of(config.batch));
  std::vector<MemoryPeaks> ranks(static_cast<size_t>(num_ranks));
  run_ranks(num_ranks,
            [&](const Group& world) {
              Engine engine(meta, world);
              context().ledger->reset_peaks();
              engine.step(batches, 1);
              ranks[static_cast<size_t>(world.rank())] = context().ledger->peaks();
            },
            {.deadline_seconds = 600, .check_collectives = false});
  return ranks;
}

std::vector<MemoryPeaks> gather_peaks(const Group& world, const MemoryPeaks& own) {
  const std::vector<int64_t> mine = numbers_of(own);
  const auto count = std::ssize(mine);
  const Tensor sent = Tensor::empty({count}, DType::kI64);
  const Tensor all = Tensor::empty({count * world.size()}, DType::kI64);
  std::copy(mine.begin(), mine.end(), sent.as<int64_t>());
  world.all_gather(sent, all).wait();
  std::vector<MemoryPeaks> ranks;
  for (int r = 0; r < world.size(); ++r) ranks.push_back(peaks_of(all.as<int64_t>() + r * count));
  return ranks;
}

size_t fullest_rank(const std::vector<MemoryPeaks>& ranks) {
  const auto fullest = std::max_element(
      ranks.begin(), ranks.end(),
      [](const MemoryPeaks& a, const MemoryPeaks& b) { return a.total() < b.total(); });
  return static_cast<size_t>(fullest - ranks.begin());
}

std::string memory_table(const std::vector<MemoryPeaks>& ranks, const std::vector<size_t>& shown) {
  const auto padded = [](const std::string& text, size_t width) {
    return std::string(width > text.size() ? width - text.size() : 0, ' ') + text;
  };
  std::string table = "rank ";
  for (int i = 0; i < kNumMemoryCategories; ++i)
    table += padded(std::string(name_of(static_cast<MemoryCategory>(i))), 14);
  table += padded("step", 14) + padded("all", 14);
  for (const size_t rank : shown) {
    table += "\n" + padded(std::to_string(rank), 4) + " ";
    for (const int64_t bytes : ranks[rank].each.by_category)
      table += padded(human_bytes(static_cast<double>(bytes)), 14);
    for (const int64_t bytes : {ranks[rank].step_bytes, ranks[rank].total()})
      table += padded(human_bytes(static_cast<double>(bytes)), 14);
  }
  return table;
}

}  // namespace orthant
