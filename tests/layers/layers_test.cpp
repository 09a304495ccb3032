// SPDX-License-Identifier: Apache-2.0
// Every layer against its formula, and its gradients.
#include "layers/embedding.h"
#include "layers/feed_forward.h"
#include "layers/grouped_linear.h"
#include "layers/head.h"
#include "layers/rms_norm.h"
#include "parallel/comm/threads/run_ranks.h"
#include "tests/layers/layer_testing.h"

namespace orthant::testing {
namespace {

Tensor ints(std::vector<int32_t> values) { return Tensor::from_i32({std::ssize(values)}, values); }

TEST(LinearTest, IsOneProductOfAllParts) {
  ParameterStore store;
  const Linear layer(builder_of(store), "ab", 5, {{"a.weight", 3}, {"b.weight", 2}},
                     {.dtype = DType::kF64});
  fill_randomly(store);
  const Tensor x = random_tensor({4, 5}, DType::kF64, "x");
  expect_near(layer.forward(Var(x)).value(),
              times_transposed(x.to_doubles(), values_of(store, "ab"), 5, 5));
  check_gradients(store, x, [&](const Var& v) { return layer.forward(v); });
  const std::vector<LogicalTensor>& table = layer.weight().parameter().table();
  ASSERT_EQ(table.size(), 2U);
  EXPECT_EQ(table[1].name, "b.weight");
  EXPECT_EQ(table[1].offset, 3 * 5);
}

TEST(LinearTest, HoldsItsRectangleOfEachPart) {
  ParameterStore store;
  const Linear layer(builder_of(store), "ab", 6, {{"a.weight", 4, {1, 2}}, {"b.weight", 3}},
                     {.dtype = DType::kF64, .own_in = {2, 3}});
  ParameterStore whole_store;
  const Linear whole(builder_of(whole_store), "ab", 6, {{"a.weight", 4}, {"b.weight", 3}},
                     {.dtype = DType::kF64});
  store.initialize(5);
  whole_store.initialize(5);
  const Values own = values_of(store, "ab"), all = values_of(whole_store, "ab");
  const size_t rows[] = {1, 2, 4, 5, 6};
  for (size_t r = 0; r < 5; ++r)
    for (size_t c = 0; c < 3; ++c) EXPECT_EQ(own[r * 3 + c], all[rows[r] * 6 + 2 + c]);
}

TEST(GroupedLinearTest, GivesEveryExpertItsRows) {
  ParameterStore store;
  const GroupedLinear layer(builder_of(store), "experts", "e.", {.first = 4, .count = 3},
                            InnerDim::kOut, 3, {{"gate.weight", 2}, {"up.weight", 2}});
  fill_randomly(store);
  const Tensor x = random_tensor({6, 3}, DType::kF64, "x");
  const auto offsets = std::make_shared<const std::vector<int64_t>>(
      std::vector<int64_t>{0, 2, 2, 6});  // none for expert 5
  Values want;
  for (size_t e = 0; e < 3; ++e) {
    const Values rows = x.slice((*offsets)[e], (*offsets)[e + 1]).to_doubles();
    const Values part = times_transposed(rows, values_of(store, "experts"), 3, 4, e * 4 * 3);
    want.insert(want.end(), part.begin(), part.end());
  }
  expect_near(layer.forward(Var(x), offsets).value(), want);
  check_gradients(store, x, [&](const Var& v) { return layer.forward(v, offsets); });
  EXPECT_EQ(layer.weight().parameter().table()[3].name, "e.5.up.weight");
  EXPECT_TRUE(layer.holds(1, "5."));
  EXPECT_FALSE(layer.holds(1, "4."));
}

TEST(RmsNormTest, DividesByTheRootOfTheMeanSquare) {
  ParameterStore store;
  const RmsNorm layer(builder_of(store), "norm.weight", 7, 0.01);
  store.initialize(1);
  EXPECT_EQ(values_of(store, "norm.weight"), Values(7, 1.0));
  fill_randomly(store);
  const Tensor x = random_tensor({3, 7}, DType::kF64, "x");
  const Values in = x.to_doubles(), weight = values_of(store, "norm.weight");
  Values want;
  for (size_t r = 0; r < 3; ++r) {
    double squares = 0;
    for (size_t i = 0; i < 7; ++i) squares += in[r * 7 + i] * in[r * 7 + i];
    for (size_t i = 0; i < 7; ++i)
      want.push_back(in[r * 7 + i] / std::sqrt(squares / 7 + 0.01) * weight[i]);
  }
  expect_near(layer.forward(Var(x)).value(), want);
  check_gradients(store, x, [&](const Var& v) { return layer.forward(v); });
}

TEST(EmbeddingTest, LooksRowsUp) {
  ParameterStore store;
  const Embedding layer(builder_of(store), "embed.weight", 6, 3);
  fill_randomly(store);
  const std::vector<int32_t> ids = {5, 0, -1, 5};
  const Values table = values_of(store, "embed.weight");
  Values want;
  for (const int32_t id : ids)
    for (int32_t i = 0; i < 3; ++i)
      want.push_back(id < 0 ? 0.0 : table[static_cast<size_t>(id * 3 + i)]);
  expect_near(layer.forward(ints(ids)).value(), want);
  check_gradients(store, Tensor::zeros({1}, DType::kF64),
                  [&](const Var&) { return layer.forward(ints(ids)); });
}

// -log softmax(x w^T)[label] of every row, 0 without a label.
Values cross_entropies(const Values& x, const Values& w, const std::vector<int32_t>& labels,
                       size_t width) {
  const size_t vocab = w.size() / width;
  const Values logits = times_transposed(x, w, width, vocab);
  Values losses;
  for (size_t r = 0; r < labels.size(); ++r) {
    double sum = 0;
    for (size_t v = 0; v < vocab; ++v) sum += std::exp(logits[r * vocab + v]);
    losses.push_back(
        labels[r] < 0 ? 0.0 : std::log(sum) - logits[r * vocab + static_cast<size_t>(labels[r])]);
  }
  return losses;
}

TEST(HeadTest, LossIsTheWeightedCrossEntropy) {
  ParameterStore store;
  const Head layer(builder_of(store), "lm_head.weight", 7, 4);
  fill_randomly(store);
  const Tensor x = random_tensor({5, 4}, DType::kF64, "x");
  const std::vector<int32_t> labels = {3, -1, 6, 0, 3};
  const Values weights = {1.0, 2.0, 0.0, -0.5, 0.25};
  const Tensor row_weights = Tensor::from({5}, weights, DType::kF64);
  const Values head = values_of(store, "lm_head");
  const Values plain = cross_entropies(x.to_doubles(), head, labels, 4);
  Values weighted;
  double sum = 0;
  for (size_t r = 0; r < 5; ++r) sum += weighted.emplace_back(weights[r] * plain[r]);
  {
    const NoGradScope no_grad;
    const HeadLoss loss = layer.loss(Var(x), ints(labels), row_weights);
    expect_near(loss.losses, weighted, "weighted");
    expect_near(loss.unweighted, plain, "unweighted");
    expect_near(loss.sum.value(), {sum}, "sum");
    expect_near(layer.loss(Var(x), ints(labels)).losses, plain, "plain");
    expect_near(layer.logits(x), times_transposed(x.to_doubles(), head, 4, 7), "logits");
  }
  check_gradients(
      store, x, [&](const Var& v) { return layer.loss(v, ints(labels), row_weights).sum; }, true);
}

// Both uses of a tied weight: one accumulates the lookup's gradient, the other the head's.
TEST(HeadTest, ATiedHeadAddsToTheEmbeddingsGradient) {
  ParameterStore store;
  const Embedding embedding(builder_of(store), "embed.weight", 6, 3);
  const Head head(builder_of(store), "lm_head", 6, embedding.weight());
  EXPECT_EQ(store.all().size(), 1U);
  EXPECT_EQ(store.uses().size(), 2U);
  fill_randomly(store);
  const Tensor ids = ints({1, 4, 4}), labels = ints({4, 0, 5});
  check_gradients(
      store, Tensor::zeros({1}, DType::kF64),
      [&](const Var&) { return head.loss(embedding.forward(ids), labels).sum; }, true);
}

TEST(FeedForwardTest, IsSwiGlu) {
  ParameterStore store;
  const FeedForward layer(builder_of(store), "mlp.", 4, 6);
  fill_randomly(store);
  const Tensor x = random_tensor({3, 4}, DType::kF64, "x");
  const Values both = times_transposed(x.to_doubles(), values_of(store, "mlp.gate_up"), 4, 12);
  Values inner;
  for (size_t r = 0; r < 3; ++r) {
    for (size_t i = 0; i < 6; ++i) {
      const double gate = both[r * 12 + i];
      inner.push_back(gate / (1 + std::exp(-gate)) * both[r * 12 + 6 + i]);
    }
  }
  expect_near(layer.forward(Var(x), 3).value(),
              times_transposed(inner, values_of(store, "mlp.down"), 6, 4));
  check_gradients(store, x, [&](const Var& v) { return layer.forward(v, 3); });
}

// Ranks that share vocabulary and inner width compute what one rank does, weighted rows included.
TEST(TensorParallelLayersTest, GiveWhatOneRankGives) {
  const std::vector<int32_t> ids = {5, 0, -1, 6, 2}, labels = {3, -1, 6, 0, 3};
  const Tensor row_weights = Tensor::from({5}, {{1.0, 2.0, 0.5, -0.5, 0.25}}, DType::kF64);
  const auto losses = [&](const RankGroups& ranks) {
    ParameterStore store;
    const LayerBuilder build = builder_of(store, ranks);
    const Embedding embedding(build, "embed.weight", 7, 4);
    const FeedForward mlp(build, "mlp.", 4, 5);
    const Head head(build, "lm_head.weight", 7, 4);
    store.initialize(3);
    const NoGradScope no_grad;
    const Var stream = mlp.forward(embedding.forward(ints(ids)), 5);
    return head.loss(stream, ints(labels), row_weights).losses.to_doubles();
  };
  const Values want = losses({});
  for (const bool sequence_parallel : {true, false}) {
    run_ranks(3, [&](const Group& world) {
      RankGroups ranks;
      ranks.tensor = world;
      ranks.sequence_parallel = sequence_parallel;
      const Values got = losses(ranks);
      for (size_t i = 0; i < want.size(); ++i) EXPECT_NEAR(got[i], want[i], 1e-12) << i;
    });
  }
}

}  // namespace
}  // namespace orthant::testing
