// SPDX-License-Identifier: Apache-2.0
// Micro-batches of random tokens, for benchmarks.
#pragma once

#include <vector>

#include "base/philox.h"
#include "data/micro_batch.h"
#include "parallel/comm/group.h"
#include "trainer/run_config.h"

namespace orthant {

// This rank's block of a step's micro-batches.
inline std::vector<MicroBatch> random_batches(const RunConfig& c, int64_t step,
                                              const Group& group) {
  std::vector<MicroBatch> batches;
  const PhiloxKey key = make_key(1, RandomPurpose::kTest, "tokens");
  const int64_t count = c.batch.micro_batches() / group.size();
  for (int64_t m = group.rank() * count; m < (group.rank() + 1) * count; ++m) {
    MicroBatch b{.sequences = c.batch.micro_batch_size, .length = c.batch.sequence_length};
    const int64_t n = b.num_tokens();
    for (int64_t i = 0; i < n; ++i) {
      const Philox4 bits =
          philox(key, static_cast<uint64_t>(step), static_cast<uint64_t>(m * n + i));
      b.ids.push_back(static_cast<int32_t>(bits.x[0] % static_cast<uint32_t>(c.model.vocab_size)));
      b.labels.push_back(
          static_cast<int32_t>(bits.x[1] % static_cast<uint32_t>(c.model.vocab_size)));
      b.positions.push_back(static_cast<int32_t>(i % b.length));
      b.doc_start.push_back(0);
    }
    batches.push_back(std::move(b));
  }
  return batches;
}

}  // namespace orthant
