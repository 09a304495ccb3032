// SPDX-License-Identifier: Apache-2.0
// What trains is settled before buffers are made: frozen parameters have neither gradient nor
// state.
#include <gtest/gtest.h>

#include <cmath>

#include "base/context.h"
#include "base/error.h"
#include "parallel/comm/threads/run_ranks.h"
#include "parallel/parameter_optimizer.h"
#include "tensor/ops/elementwise.h"

namespace orthant {
namespace {

// Two logical tensors in one storage.
Parameter::Options fused(const std::string& name, Tied tied = Tied::kNo) {
  return {.name = name,
          .shape = {128, 64},
          .dtype = DType::kBF16,
          .logical = {whole_tensor(name + ".a.weight", {32, 64}, 0, 0.1),
                      whole_tensor(name + ".b.weight", {96, 64}, 32 * 64, 0.1)},
          .tied = tied};
}

bool begins_with_low(const std::string& name) { return name.starts_with("low."); }

std::string message_of(FunctionRef<void()> f, ErrorKind kind) {
  try {
    f();
  } catch (const Error& error) {
    EXPECT_EQ(error.kind(), kind);
    return error.what();
  }
  ADD_FAILURE() << "no error";
  return "";
}

TEST(FreezeTest, FrozenParametersHaveNeitherGradientNorState) {
  ParameterStore store;
  ParameterUse& low = store.add(fused("low"));
  ParameterUse& tie = store.tie("low tie", low.parameter());
  ParameterUse& high = store.add(fused("high"));
  store.freeze(begins_with_low);  // by its logical names
  store.initialize(3);
  const auto bytes = [](MemoryCategory category) { return context().ledger->bytes(category); };
  const int64_t gradients_before = bytes(MemoryCategory::kGradients);
  const int64_t optimizer_before = bytes(MemoryCategory::kOptimizer);
  GradientBuffers gradients(store, {Group::self(), Group::self()}, plan_lanes(1, 1, 1), {});
  ParameterOptimizer optimizer({}, gradients, Group::self());
  EXPECT_EQ(bytes(MemoryCategory::kGradients) - gradients_before, 128 * 64 * 4);
  EXPECT_EQ(bytes(MemoryCategory::kOptimizer) - optimizer_before, 128 * 64 * 3 * 4);
  EXPECT_EQ(gradients.parameters(), std::vector<Parameter*>{&high.parameter()});
  ASSERT_EQ(optimizer.state().size(), 1U);
  EXPECT_EQ(optimizer.state()[0].parameter, &high.parameter());
  for (ParameterUse* use : {&low, &tie}) {
    EXPECT_FALSE(use->trainable());
    EXPECT_NE(
        message_of([&] { use->add_gradient([](const Tensor&, bool) {}); }, ErrorKind::kInternal)
            .find(use->name()),
        std::string::npos);
  }
  message_of([&] { gradients.sum_of(low.parameter()); }, ErrorKind::kInternal);

  const std::vector<double> before = low.parameter().value().to_doubles();
  const std::vector<double> high_before = high.parameter().value().to_doubles();
  gradients.begin_step();
  high.add_gradient([](const Tensor& buffer, bool) { ops::fill(buffer, 1.0); });
  gradients.finish_step();  // wants nothing of the frozen ones
  EXPECT_GT(optimizer.gradient_norm(1.0), 0.0);
  optimizer.step(0.1, 1.0, 1);
  EXPECT_EQ(low.parameter().value().to_doubles(), before);
  EXPECT_NE(high.parameter().value().to_doubles(), high_before);
}

TEST(FreezeTest, AStorageIsFrozenWholeAndInTime) {
  ParameterStore store;
  ParameterUse& use = store.add(fused("low"));
  const std::string text = message_of(
      [&] { store.freeze([](const std::string& name) { return name == "low.a.weight"; }); },
      ErrorKind::kConfig);
  EXPECT_NE(text.find("low.a.weight"), std::string::npos) << text;
  EXPECT_NE(text.find("low.b.weight"), std::string::npos) << text;
  EXPECT_TRUE(use.trainable());
  {
    const GradientBuffers gradients(store, {Group::self(), Group::self()}, plan_lanes(1, 1, 1), {});
    message_of([&] { store.freeze(begins_with_low); }, ErrorKind::kInternal);
    EXPECT_TRUE(use.trainable());
  }
  store.freeze(begins_with_low);
  EXPECT_FALSE(use.trainable());
}

// The mirror has no logical tensors to others, but the names of the owner's.
TEST(FreezeTest, AWeightOfTwoStagesIsFrozenOnBoth) {
  run_ranks(2, [](const Group& pair) {
    ParameterStore store;
    Parameter& shared =
        store.add(fused("low", pair.rank() == 0 ? Tied::kOwner : Tied::kMirror)).parameter();
    store.add(fused("high"));
    store.freeze(begins_with_low);
    store.initialize(3);
    const std::vector<double> values = shared.value().to_doubles();
    const auto tied = std::make_shared<TiedStages>(pair, shared);
    GradientBuffers gradients(store, {Group::self(), Group::self()}, plan_lanes(1, 1, 1), {});
    EXPECT_EQ(gradients.parameters().size(), 1U);
    ParameterOptimizer optimizer({}, gradients, Group::self(), tied);
    gradients.begin_step();
    store.uses()[1]->add_gradient([](const Tensor& buffer, bool) { ops::fill(buffer, 1.0); });
    gradients.finish_step();
    tied->add_gradients(gradients);
    optimizer.step(0.1, 1.0, 1);
    EXPECT_EQ(shared.value().to_doubles(), values);
  });
}

// Rank 0 as a stage whose layers are all frozen: it takes part in what is collective.
TEST(FreezeTest, ARankMayHaveNothingThatTrains) {
  run_ranks(2, [](const Group& model) {
    ParameterStore store;
    ParameterUse& use = store.add(fused(model.rank() == 0 ? "low" : "high"));
    store.freeze(begins_with_low);
    GradientBuffers gradients(store, {Group::self(), Group::self()}, plan_lanes(1, 1, 1), {});
    ParameterOptimizer optimizer({}, gradients, model);
    gradients.begin_step();
    if (use.trainable())
      use.add_gradient([](const Tensor& buffer, bool) { ops::fill(buffer, 1.0); });
    gradients.finish_step();
    EXPECT_DOUBLE_EQ(optimizer.gradient_norm(1.0), std::sqrt(128.0 * 64));
    optimizer.step(0.1, 1.0, 1);
  });
}

}  // namespace
}  // namespace orthant
