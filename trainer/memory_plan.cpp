// SPDX-License-Identifier: Apache-2.0
#include "trainer/memory_plan.h"

#include "base/context.h"
#include "parallel/comm/threads/run_ranks.h"
#include "trainer/pretrain_engine.h"

namespace orthant {
namespace {

// What memory depends on of a batch: its shape, and that its tokens count.
MicroBatch batch_of(const BatchConfig& sizes) {
  MicroBatch batch;
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

}  // namespace

std::vector<MemoryPeaks> predict_memory(const RunPlan& plan) {
  const RunConfig& config = plan.config();
  const int num_ranks = plan.world_size();
  // Of the whole batch: the steps of a ramp hold no more.
  const int64_t micro_batches = config.batch.micro_batches() / config.parallel.data_parallel_size;
  const std::vector<MicroBatch> batches(static_cast<size_t>(micro_batches), batch_of(config.batch));
  std::vector<MemoryPeaks> ranks(static_cast<size_t>(num_ranks));
  run_ranks(num_ranks,
            [&](const Group& world) {
              Engine engine = pretrain_engine(plan, world, {DeviceType::kMeta, 0});
              context().ledger->reset_peaks();
              engine.step(batches, 1);
              ranks[static_cast<size_t>(world.rank())] = context().ledger->peaks();
            },
            {.deadline_seconds = 600, .check_collectives = false});
  return ranks;
}

}  // namespace orthant
