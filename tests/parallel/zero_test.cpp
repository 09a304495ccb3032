// SPDX-License-Identifier: Apache-2.0
// ZeRO on parameters alone: groups of different sizes, frozen and tied parameters, values on their
// way, memory.
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <map>

#include "base/error.h"
#include "parallel/comm/threads/run_ranks.h"
#include "parallel/parameter_optimizer.h"
#include "tensor/ops/elementwise.h"

namespace orthant {
namespace {

// What a model may bring: tensors that slices cut, small ones, another dtype, experts, a frozen
// one, a tied head.
struct Model {
  explicit Model(DType dtype) {
    Parameter& lookup = add("embed", {700, 24}, dtype);
    add("norm", {24}, dtype);
    add("router", {8, 24}, wide_of(dtype));
    add("experts", {5, 60, 24}, dtype, true);
    frozen = &add("frozen", {24, 24}, dtype);
    add("out", {96, 100}, dtype);
    store.tie("head", lookup);
    store.freeze([](const std::string& name) { return name == "frozen.0"; });
    store.initialize(9);
  }
  Parameter& add(const std::string& name, const Shape& shape, DType type, bool expert = false) {
    std::vector<LogicalTensor> logical;
    const int64_t parts = shape.rank() == 3 ? shape[0] : 1;
    const Shape part = parts > 1 ? Shape{shape[1], shape[2]} : shape;
    for (int64_t i = 0; i < parts; ++i)
      logical.push_back(whole_tensor(concat(name, ".", i), part, i * part.numel(), 0.1));
    return store
        .add({.name = name,
              .shape = shape,
              .dtype = type,
              .logical = logical,
              .replicas = expert ? Replicas::kExpert : Replicas::kDense})
        .parameter();
  }

  ParameterStore store;
  Parameter* frozen = nullptr;
};

// A gradient that depends on rank, parameter, step and value, so that a stale value is seen.
void add_gradients(Model& model, int rank, int64_t step) {
  for (size_t i = model.store.uses().size(); i-- > 0;) {
    ParameterUse& use = *model.store.uses()[i];
    if (!use.trainable()) continue;
    const std::vector<double> values = use.parameter().value().to_doubles();
    use.add_gradient([&](const Tensor& buffer, bool) {
      std::vector<double> gradient(values.size());
      for (size_t e = 0; e < values.size(); ++e)
        gradient[e] =
            values[e] +
            0.01 * std::sin(static_cast<double>(e + 31 * i + 7 * static_cast<size_t>(rank) +
                                                101 * static_cast<size_t>(step)));
      copy(Tensor::from(buffer.shape(), gradient, DType::kF64), buffer);
    });
  }
}

struct Outcome {
  std::vector<double> norms;
  std::vector<std::vector<double>> values;  // by parameter
  bool operator==(const Outcome&) const = default;
};

// Six ranks share the dense parameters, groups of two or three the experts.
Outcome train(const Group& world, DType dtype, const std::string& name, bool zero,
              int expert_ranks) {
  const Group expert = world.split(world.rank() / expert_ranks, 0, "edp");
  Model model(dtype);
  const std::vector<double> frozen = model.frozen->value().to_doubles();
  GradientBuffers gradients(model.store, {world, expert}, plan_lanes(6, 6, 1),
                            {.zero = zero, .bucket_bytes = 4 * 5000});
  OptimizerConfig config;
  config.kind = name == "sgd" ? OptimizerKind::kSgd : OptimizerKind::kAdamW;
  ParameterOptimizer optimizer(config, gradients, Group::self());
  Outcome outcome;
  for (int64_t step = 1; step <= 3; ++step) {
    gradients.begin_step();
    // Equal in every expert group, so that experts stay replicas over the whole world.
    add_gradients(model, world.rank() % expert_ranks, step);
    gradients.finish_step();
    outcome.norms.push_back(optimizer.gradient_norm(0.5));
    optimizer.step(1e-2, 0.5, step);
  }
  for (const auto& parameter : model.store.all())
    outcome.values.push_back(parameter->value().to_doubles());
  EXPECT_EQ(model.frozen->value().to_doubles(), frozen);
  for (const auto& state : optimizer.state()) EXPECT_NE(state.parameter, model.frozen);
  return outcome;
}

// Also as if the tensors were a device's, which travel through host memory.
TEST(ZeroTest, HasTheBitsOfPlainReplicasInGroupsOfDifferentSizes) {
  for (const bool staged : {false, true}) {
    const auto compare = [](const Group& world) {
      for (const DType dtype : {DType::kF64, DType::kF32, DType::kBF16}) {
        for (const char* name : {"adamw", "sgd"}) {
          for (const int expert_ranks : {1, 2, 3}) {
            const Outcome plain = train(world, dtype, name, false, expert_ranks);
            EXPECT_EQ(train(world, dtype, name, true, expert_ranks), plain)
                << name_of(dtype) << " " << name << ", expert groups of " << expert_ranks;
            EXPECT_GT(plain.norms.front(), 0.0);
          }
        }
      }
    };
    run_ranks(6, compare, {.stage_everything = staged});
  }
}

// Sums of squares by logical name, block by block.
std::map<std::string, double> squares_of(const GradientBuffers& gradients) {
  std::map<std::string, double> squares;
  for (const Parameter* parameter : gradients.parameters()) {
    const std::vector<double> sums = gradients.sum_of(*parameter).to_doubles();
    for (const LogicalTensor& logical : parameter->logical()) {
      double& total = squares[logical.name];
      for (int64_t begin = 0; begin < logical.shape.numel(); begin += kNormBlock) {
        const int64_t size = std::min(kNormBlock, logical.shape.numel() - begin);
        const Tensor block = Tensor::from(
            {size}, {sums.data() + logical.offset + begin, static_cast<size_t>(size)}, DType::kF64);
        total += ops::sum_squares(block).to_doubles().front();
      }
    }
  }
  return squares;
}

// The documented order of additions, by hand.
TEST(ZeroTest, TheNormAddsBlocksInOrderThenNames) {
  Model model(DType::kF64);
  GradientBuffers gradients(model.store, {Group::self(), Group::self()}, plan_lanes(1, 1, 1), {});
  const GradientNorm norm(gradients, Group::self());
  int order_is_seen = 0;
  for (int64_t step = 1; step <= 40; ++step) {
    gradients.begin_step();
    add_gradients(model, 0, step);
    gradients.finish_step();
    const std::map<std::string, double> squares = squares_of(gradients);
    double total = 0, reversed = 0;
    for (const auto& [name, value] : squares) total += value;
    for (auto at = squares.rbegin(); at != squares.rend(); ++at) reversed += at->second;
    EXPECT_EQ(norm.norm(gradients, 0.5), std::sqrt(total) * 0.5);
    order_is_seen += std::sqrt(total) != std::sqrt(reversed);
  }
  EXPECT_GT(order_is_seen, 0);
}

// Every element has its state on exactly one rank, in whole blocks.
TEST(ZeroTest, StateIsSharedOutEvenly) {
  run_ranks(6, [](const Group& world) {
    Model model(DType::kBF16);
    const GradientBuffers gradients(model.store, {world, Group::self()}, plan_lanes(6, 6, 1),
                                    {.zero = true, .bucket_bytes = 1 << 20});
    const ParameterOptimizer optimizer({}, gradients, Group::self());
    double dense = 0, expert = 0;
    for (const auto& state : optimizer.state()) {
      EXPECT_EQ(state.span.m.numel(), state.range.size());
      (state.parameter->replicas() == Replicas::kExpert ? expert : dense) +=
          static_cast<double>(state.range.size());
    }
    EXPECT_EQ(expert, 5 * 60 * 24);
    EXPECT_EQ(world.sum(dense), 700 * 24 + 24 + 8 * 24 + 96 * 100);
  });
}

// The step returns while values travel: until they are there, none of them can be read.
TEST(ZeroTest, ValuesAreWaitedForByTheirFirstReader) {
  const auto body = [](const Group& world) {
    Model model(DType::kF32);
    GradientBuffers gradients(model.store, {world, world}, plan_lanes(2, 2, 1),
                              {.zero = true, .bucket_bytes = 4 * 5000});
    OptimizerConfig config;
    config.kind = OptimizerKind::kSgd;
    ParameterOptimizer optimizer(config, gradients, Group::self());
    gradients.begin_step();
    add_gradients(model, world.rank(), 1);
    gradients.finish_step();
    const Parameter& lookup = *model.store.all().front();
    const std::vector<double> before = lookup.value().to_doubles();
    const Tensor token = Tensor::zeros({1}, DType::kF32);
    // Rank 1 updates its slices once rank 0 has returned from its step.
    if (world.rank() == 1) world.recv(token, 0).wait();
    optimizer.step(0.1, 1.0, 1);
    if (world.rank() == 0) world.send(token, 1).wait();
    const std::vector<double> after = lookup.value().to_doubles();
    for (size_t i = 0; i < after.size(); ++i) ASSERT_NE(after[i], before[i]) << i;
  };
  // A checked gather would wait for all ranks where it is posted.
  run_ranks(2, body, {.check_collectives = false});
}

}  // namespace
}  // namespace orthant
