// SPDX-License-Identifier: Apache-2.0
// Examples of supervised training give the same gradients one a row and packed, whatever the
// micro-batches, the ranks that share them, and the way of attention over cut sequences.
#include <gtest/gtest.h>

#include "base/philox.h"
#include "data/supervised_batches.h"
#include "parallel/comm/threads/run_ranks.h"
#include "tests/layouts/engine_run.h"
#include "tests/layouts/worst.h"

namespace orthant::testing {
namespace {

constexpr int64_t kLength = 16;

struct RowsOfExamples {
  std::vector<std::vector<int>> rows;  // lengths of the examples in each, inputs and the last label
  int64_t micro_batch_size;
};
// The same examples in the same order.
const RowsOfExamples kSingle = {{{6}, {8}, {4}, {10}, {5}, {9}, {7}, {7}}, 1};
const RowsOfExamples kPacked = {{{6, 8, 4}, {10, 5}, {9, 7}, {7}}, 1};
const RowsOfExamples kPackedTogether = {{{6, 8, 4}, {10, 5}, {9, 7}, {7}}, 2};
const RowsOfExamples kPackedOtherwise = {{{6, 8}, {4, 10}, {5, 9}, {7, 7}}, 4};

// Prompts are not trained: the first third of each.
std::vector<MicroBatch> batches_of_rows(const RowsOfExamples& of) {
  std::vector<MicroBatch> batches;
  int example = 0;
  for (size_t r = 0; r < of.rows.size(); ++r) {
    const auto row = static_cast<int64_t>(r) % of.micro_batch_size;
    if (row == 0) {
      batches.push_back(make_padding_batch(of.micro_batch_size, kLength, 0));
      // Padding is no token of the model: it would be routed.
      std::fill(batches.back().ids.begin(), batches.back().ids.end(), -1);
    }
    int64_t at = 0;
    for (const int length : of.rows[r]) {
      std::vector<int32_t> ids;
      std::vector<uint8_t> trained;
      for (int i = 0; i < length; ++i) {
        const double u =
            philox_uniform({1, static_cast<uint32_t>(example)}, 0, static_cast<uint64_t>(i));
        ids.push_back(static_cast<int32_t>(u * 61));
        trained.push_back(3 * i > length);
      }
      at = place_example(batches.back(), row, at, ids, trained);
      ++example;
    }
  }
  return batches;
}

NamedValues gradients_of(const char* name, const RowsOfExamples& rows, LayoutOptions options,
                         int ranks, int64_t window) {
  Variant variant = find_variant(name);
  variant.name += concat("_packing_", window);
  RunConfig& c = variant.config;
  c.model.sliding_window = window;
  c.moe.balance = {.expert = 0.0, .sequence = 0.0};  // those are means over rows
  c.batch.sequence_length = kLength;
  c.batch.micro_batch_size = rows.micro_batch_size;
  c.batch.global_batch_size = std::ssize(rows.rows);
  const std::vector<MicroBatch> batches = batches_of_rows(rows);
  const NamedValues& weights = initial_weights(variant);
  std::vector<LayoutRun> runs(static_cast<size_t>(ranks));
  run_ranks(ranks, [&](const Group& world) {
    runs[static_cast<size_t>(world.rank())] = run_layout(
        plan_of(variant, options, ranks),
        [&](int64_t, int64_t micro_batch) { return batches[static_cast<size_t>(micro_batch)]; },
        {.steps = 1, .gradients = true, .weights = weights}, world);
  });
  return runs.front().gradients;
}

TEST(PackingLayouts, PackedRowsHaveTheGradientsOfSingleOnes) {
  Worst worst(1e-10);
  for (const char* name : {"dense_gqa", "moe_v2_lite"}) {
    for (const int64_t window : {int64_t{0}, int64_t{3}}) {
      const NamedValues want = gradients_of(name, kSingle, {}, 1, window);
      const auto expect = [&](const char* how, const RowsOfExamples& rows, LayoutOptions options,
                              int ranks) {
        worst.expect_values("gradients", gradients_of(name, rows, options, ranks, window), want,
                            concat(name, " window ", window, " ", how));
      };
      expect("packed", kPacked, {}, 1);
      expect("two rows at once", kPackedTogether, {}, 1);
      expect("in other rows, four at once", kPackedOtherwise, {}, 1);
      expect("on two ranks", kPacked, {}, 2);
      expect("on four ranks", kPackedOtherwise, {.tensor_parallel_size = 4}, 4);
      expect("ring", kPacked, {.context_parallel_size = 2}, 2);
      expect("ring of four", kPackedTogether, {.context_parallel_size = 4}, 4);
      expect("Ulysses", kPacked, {.context_parallel_size = 2, .context_parallel_kind = "ulysses"},
             2);
      expect("ring, two replicas", kPackedTogether, {.context_parallel_size = 2}, 4);
    }
  }
}

}  // namespace
}  // namespace orthant::testing
