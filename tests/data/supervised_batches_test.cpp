// SPDX-License-Identifier: Apache-2.0
#include "data/supervised_batches.h"

#include <algorithm>
#include <map>
#include <random>
#include <set>

#include "tests/data/supervised_testing.h"

namespace orthant {
namespace {

std::vector<int64_t> some_sizes(size_t count, int64_t most, unsigned seed = 1) {
  std::mt19937 random(seed);
  std::vector<int64_t> sizes(count);
  for (int64_t& size : sizes) size = std::uniform_int_distribution<int64_t>(2, most)(random);
  return sizes;
}

SupervisedOptions options_of(int64_t length, int64_t micro, int64_t global, bool packing = true,
                             uint64_t seed = 5) {
  return {.order = {.seed = seed, .sequence_length = length, .packing = packing},
          .micro_batch_size = micro,
          .sizes = {.global = global},
          .pad = -7};
}

bool same(const MicroBatch& a, const MicroBatch& b) {
  return a.length == b.length && a.ids == b.ids && a.labels == b.labels &&
         a.positions == b.positions && a.doc_start == b.doc_start && a.sample_ids == b.sample_ids;
}

// Examples by their first id, counted, of the rows of a batch; checks every column.
void read_batch(const MicroBatch& batch, const Examples& examples, std::map<int32_t, int>& seen) {
  std::map<int32_t, int64_t> by_first;
  for (int64_t i = 0; i < examples.size(); ++i) by_first[examples.ids(i)[0]] = i;
  for (int64_t at = 0; at < batch.num_tokens();) {
    const auto p = static_cast<size_t>(at);
    const auto in_row = static_cast<int32_t>(at % batch.length);
    ASSERT_EQ(batch.doc_start[p], in_row);
    if (batch.ids[p] == -7) {
      EXPECT_EQ(batch.labels[p], kIgnoredLabel);
      EXPECT_EQ(batch.positions[p], 0);
      ++at;
      continue;
    }
    ASSERT_TRUE(by_first.contains(batch.ids[p]));
    const int64_t example = by_first[batch.ids[p]];
    ++seen[batch.ids[p]];
    const auto ids = examples.ids(example);
    const auto trained = examples.trained(example);
    for (size_t i = 0; i + 1 < ids.size(); ++i) {
      EXPECT_EQ(batch.ids[p + i], ids[i]);
      EXPECT_EQ(batch.labels[p + i], trained[i + 1] ? ids[i + 1] : kIgnoredLabel);
      EXPECT_EQ(batch.positions[p + i], static_cast<int32_t>(i));
      EXPECT_EQ(batch.doc_start[p + i], in_row);
    }
    at += static_cast<int64_t>(ids.size()) - 1;
  }
}

TEST(SupervisedBatches, HoldEveryExampleOnceAnEpoch) {
  for (const bool packing : {true, false}) {
    const auto examples = numbered_examples(some_sizes(137, 60));
    const SupervisedBatches batches({{examples}}, options_of(64, 1, 1, packing));
    int64_t row = 0;
    for (int64_t epoch = 0; epoch < 3; ++epoch) {
      std::map<int32_t, int> seen;
      const int64_t rows = batches.rows_of_epoch(epoch);
      for (int64_t i = 0; i < rows; ++i, ++row) {
        const auto share = batches.step_share(row, 0, 1);
        ASSERT_EQ(share.size(), 1u);
        EXPECT_EQ(share[0].sample_ids[0], row);
        read_batch(share[0], *examples, seen);
      }
      EXPECT_EQ(seen.size(), 137u);
      for (const auto& [id, count] : seen) EXPECT_EQ(count, 1) << id;
      EXPECT_DOUBLE_EQ(batches.epochs_at(row), static_cast<double>(epoch) + 1);
    }
    EXPECT_GT(batches.rows().fill(0), 0.9);
  }
}

TEST(SupervisedBatches, AreTheSameRowsForAnyRanks) {
  for (const bool packing : {true, false}) {
    const auto examples = numbered_examples(some_sizes(90, 40));
    const SupervisedBatches batches({{examples}}, options_of(48, 1, 12, packing));
    for (int64_t step = 0; step < 6; ++step) {
      const auto whole = batches.step_share(step, 0, 1);
      ASSERT_EQ(whole.size(), 12u);
      for (const int64_t ranks : {2, 3, 4, 6, 12}) {
        size_t at = 0;
        for (int64_t rank = 0; rank < ranks; ++rank) {
          const auto share = batches.step_share(step, rank, ranks);
          ASSERT_EQ(share.size(), static_cast<size_t>(12 / ranks));
          for (const MicroBatch& batch : share) EXPECT_TRUE(same(batch, whole[at++]));
        }
      }
    }
  }
}

TEST(SupervisedBatches, GoOnAtAnyStep) {
  const auto examples = numbered_examples(some_sizes(50, 40));
  const auto options = options_of(48, 2, 6);
  const SupervisedBatches straight({{examples}}, options);
  std::vector<std::vector<MicroBatch>> steps;
  for (int64_t step = 0; step < 20; ++step) steps.push_back(straight.step_share(step, 0, 1));
  for (const int64_t step : {19, 3, 11, 0}) {
    const SupervisedBatches fresh({{examples}}, options);
    const auto again = fresh.step_share(step, 0, 1);
    for (size_t m = 0; m < again.size(); ++m)
      EXPECT_TRUE(same(again[m], steps[static_cast<size_t>(step)][m])) << step;
    EXPECT_TRUE(same(straight.step_share(step, 0, 1)[0], steps[static_cast<size_t>(step)][0]));
  }
}

TEST(SupervisedBatches, HaveAnotherOrderForAnotherSeedAndEpoch) {
  const auto examples = numbered_examples(some_sizes(100, 40));
  const auto ids_of_epoch = [&](uint64_t seed, int64_t epoch) {
    const SupervisedRows rows({{examples}}, options_of(48, 1, 1, false, seed).order);
    std::vector<int64_t> order;
    for (int64_t i = 0; i < 100; ++i) order.push_back(rows.row(epoch * 100 + i).front().example);
    return order;
  };
  EXPECT_EQ(ids_of_epoch(5, 0), ids_of_epoch(5, 0));
  EXPECT_NE(ids_of_epoch(5, 0), ids_of_epoch(5, 1));
  EXPECT_NE(ids_of_epoch(5, 0), ids_of_epoch(6, 0));
  // Sources take turns in another order, too.
  const SupervisedRows two({{examples}, {examples}}, options_of(48, 1, 1, false).order);
  const auto sources_of_epoch = [&](int64_t epoch) {
    std::vector<int> order;
    for (int64_t i = 0; i < 200; ++i) order.push_back(two.row(epoch * 200 + i).front().source);
    return order;
  };
  EXPECT_NE(sources_of_epoch(0), sources_of_epoch(1));
}

TEST(SupervisedBatches, BlendSourcesByWeight) {
  const auto many = numbered_examples(some_sizes(100, 20)),
             few = numbered_examples(some_sizes(10, 20), 100000),
             replay = numbered_examples(some_sizes(200, 20), 200000);
  const SupervisedRows rows({{many}, {few, 3.0}, {replay, 0.25}},
                            options_of(32, 1, 1, false).order);
  EXPECT_EQ(rows.examples_of_epoch(), 100 + 30 + 50);
  std::set<int64_t> replayed;
  for (int64_t epoch = 0; epoch < 4; ++epoch) {
    std::map<ExampleRef, int> seen;
    for (int64_t i = 0; i < 180; ++i) ++seen[rows.row(epoch * 180 + i).front()];
    int of_many = 0, of_replay = 0;
    for (const auto& [ref, count] : seen) {
      EXPECT_EQ(count, ref.source == 1 ? 3 : 1);
      of_many += ref.source == 0;
      of_replay += ref.source == 2;
      EXPECT_TRUE(ref.source != 2 || replayed.insert(ref.example).second) << ref.example;
    }
    EXPECT_EQ(of_many, 100);
    EXPECT_EQ(of_replay, 50);  // others each epoch
  }
  EXPECT_EQ(replayed.size(), 200u);
  const std::vector<SourceUse> uses = rows.uses_at(360);
  EXPECT_DOUBLE_EQ(uses[0].epochs, 2);
  EXPECT_DOUBLE_EQ(uses[1].epochs, 6);
  EXPECT_DOUBLE_EQ(uses[2].epochs, 0.5);
  EXPECT_DOUBLE_EQ(uses[2].share, 50.0 / 180);
  expect_error(ErrorKind::kConfig, {"weight", "none an epoch"}, [&] {
    SupervisedRows({{few, 0.01, "few.jsonl"}}, options_of(32, 1, 1).order);
  });
}

TEST(SupervisedBatches, AreAsLongAsTheirLongestWithoutPacking) {
  const auto examples = numbered_examples({4, 10, 10, 10, 31, 3});
  SupervisedOptions options = options_of(30, 1, 1, false);
  const SupervisedBatches batches({{examples}}, options);
  std::multiset<int64_t> lengths;
  for (int64_t step = 0; step < 6; ++step) lengths.insert(batches.step_share(step, 0, 1)[0].length);
  EXPECT_EQ(lengths, (std::multiset<int64_t>{8, 8, 16, 16, 16, 30}));
  options.length_multiple = 12;
  const SupervisedBatches wider({{examples}}, options);
  for (int64_t step = 0; step < 6; ++step)
    EXPECT_TRUE(std::set<int64_t>({12, 30}).contains(wider.step_share(step, 0, 1)[0].length));
}

TEST(SupervisedBatches, RefuseAStepWithoutTrainedTokens) {
  auto examples = std::make_shared<Examples>();
  const int32_t file = examples->add_file("a.jsonl");
  examples->add(example_of({1, 2, 3}, {0, 0, 0}), {file, 4});
  examples->add(example_of({1, 2, 3}, {0, 0, 0}), {file, 9});
  const SupervisedBatches batches({{examples}}, options_of(2, 1, 2));
  expect_error(ErrorKind::kData, {"a.jsonl:4", "a.jsonl:9", "trained token"},
               [&] { batches.step_share(0, 0, 1); });
}

TEST(SupervisedBatches, RefuseWhatRanksCannotShare) {
  const SupervisedBatches batches({{numbered_examples({4, 5})}}, options_of(8, 2, 6));
  expect_error(ErrorKind::kConfig, {"rank 1 of 2", "6 rows"}, [&] { batches.step_share(0, 1, 2); });
  expect_error(ErrorKind::kData, {"e.jsonl", "no example"}, [] {
    SupervisedBatches({{std::make_shared<Examples>(), 1.0, "e.jsonl"}}, options_of(8, 2, 6));
  });
}

TEST(SupervisedEvaluation, HasEveryTrainedLabelOnce) {
  const auto examples = numbered_examples(some_sizes(57, 30));
  for (const int64_t ranks : {1, 2, 3}) {
    std::map<int32_t, int> seen;
    int64_t labels = 0, batches = -1;
    for (int64_t rank = 0; rank < ranks; ++rank) {
      const SupervisedEvaluation evaluation(examples, {.sequence_length = 32,
                                                       .micro_batch_size = 4,
                                                       .pad = -7,
                                                       .rank = rank,
                                                       .num_ranks = ranks});
      if (batches < 0) batches = evaluation.num_batches();
      EXPECT_EQ(evaluation.num_batches(), batches);
      EXPECT_EQ(evaluation.num_labels(), examples->num_trained());
      for (int64_t i = 0; i < batches; ++i) {
        const MicroBatch batch = evaluation.batch(i);
        EXPECT_EQ(batch.sequences, 4);
        EXPECT_EQ(batch.length, 32);
        labels += batch.num_labels();
        read_batch(batch, *examples, seen);
      }
    }
    EXPECT_EQ(seen.size(), 57u);
    EXPECT_EQ(labels, examples->num_trained());
  }
  const SupervisedEvaluation some(
      examples, {.sequence_length = 32, .micro_batch_size = 1, .pad = -7, .max_tokens = 65});
  EXPECT_EQ(some.num_rows(), 3);
}

}  // namespace
}  // namespace orthant
