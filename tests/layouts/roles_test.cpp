// SPDX-License-Identifier: Apache-2.0
// Roles that train in part or not at all, and tokens with weights, on layouts: what one rank that
// trains everything gives.
#include <gtest/gtest.h>

#include <cmath>
#include <set>

#include "checkpoint/reader.h"
#include "checkpoint/writer.h"
#include "parallel/comm/threads/run_ranks.h"
#include "tests/checkpoint/checkpoint_testing.h"
#include "tests/layouts/engine_run.h"
#include "tests/layouts/worst.h"
#include "trainer/pretrain_engine.h"
#include "trainer/training_state.h"
#include "trainer/weight_source.h"

namespace orthant::testing {
namespace {

using Scores = std::vector<std::vector<double>>;  // by micro-batch and token

std::shared_ptr<Role> make_role(const RunPlan& plan, const Group& world, bool trains,
                                const WeightSource& weights, const std::string& name = "") {
  RoleOptions options = role_options(plan, Device{});
  options.name = name;
  if (!trains) options.training.reset();
  return std::make_shared<Role>(
      options,
      make_rank_groups(world, plan.config().parallel, plan.config().model.num_key_value_heads),
      weights);
}

Engine engine_of(std::shared_ptr<Role> role) {
  return Engine(std::move(role), std::make_shared<LanguageModeling>(), {});
}

// Of a step's micro-batches, by a frozen role that has scored with other weights before it was
// given the variant's.
Scores score_on(const Variant& variant, const LayoutOptions& options, const Group& world) {
  const auto role =
      make_role(plan_of(variant, options, world.size()), world, false, random_weights(3));
  const Engine engine = engine_of(role);
  const std::vector<MicroBatch> batches = own_batches(variant, role->groups().data, 1);
  engine.score(batches);
  load_weights(*role, initial_weights(variant));
  return engine.score(batches);
}

struct Layout {
  int ranks;
  LayoutOptions options;
};

// A weight that every token has, whoever computes it.
void weigh(std::vector<MicroBatch>& batches) {
  for (MicroBatch& batch : batches) {
    std::vector<double>& weights = batch.token_columns[LanguageModeling::kWeights];
    for (int64_t i = 0; i < batch.num_tokens(); ++i)
      weights.push_back(0.25 * static_cast<double>(1 + (i + batch.sample_ids[0]) % 7));
  }
}

TEST(Roles, AFrozenOneDrawsTheWeightsOfOneThatTrains) {
  const Variant& variant = find_variant("dense_tied_deep");
  for (const int pp : {1, 2}) {
    run_ranks(pp, [&](const Group& world) {
      const RunPlan plan =
          plan_of(variant, {.precision = "bf16", .pipeline_parallel_size = pp}, world.size());
      const auto trained = make_role(plan, world, true, random_weights(5));
      const auto frozen = make_role(plan, world, false, random_weights(5));
      EXPECT_FALSE(frozen->trains());
      for (size_t i = 0; i < trained->store().all().size(); ++i) {
        const Parameter& want = *trained->store().all()[i];
        EXPECT_EQ(frozen->store().all()[i]->value().to_doubles(), want.value().to_doubles())
            << want.name();
      }
    });
  }
}

// Where the head is the embedding of another stage, too: weights that were loaded reach both.
TEST(Roles, AFrozenOneScoresTokensAsOneRankDoes) {
  for (const char* name : {"dense_tied_deep", "moe"}) {
    const Variant& variant = find_variant(name);
    const Scores want = score_on(variant, {}, Group::self());
    const std::vector<Layout> layouts = {
        {2, {}},
        {2, {.pipeline_parallel_size = 2}},
        {2, {.tensor_parallel_size = 2}},
        {2, {.context_parallel_size = 2}},
        {8, {.tensor_parallel_size = 2, .context_parallel_size = 2, .pipeline_parallel_size = 2}}};
    for (const Layout& layout : layouts) {
      run_ranks(layout.ranks, [&](const Group& world) {
        const Scores got = score_on(variant, layout.options, world);
        const size_t first =
            got.size() == want.size() ? 0 : got.size() * static_cast<size_t>(world.rank());
        for (size_t m = 0; m < got.size(); ++m) {
          ASSERT_EQ(got[m].size(), want[first + m].size());
          for (size_t i = 0; i < got[m].size(); ++i)
            ASSERT_NEAR(got[m][i], want[first + m][i], 1e-11)
                << name << " rank " << world.rank() << " micro-batch " << m << " token " << i;
        }
      });
    }
  }
}

// Stages below and above what trains pass the stream on; what trains gets the gradients of a model
// that trains as a whole.
TEST(Roles, APartThatTrainsHasTheGradientsOfTheWhole) {
  const Variant& variant = find_variant("dense_tied_deep");
  const std::string first = "model.layers.0.", middle = "model.layers.4.", last = "model.norm.";
  for (const int pp : {1, 4}) {
    for (const std::string& part : {first, middle, last}) {
      run_ranks(pp, [&](const Group& world) {
        const RunPlan plan = plan_of(variant, {.pipeline_parallel_size = pp}, world.size());
        const RankGroups groups = make_rank_groups(world, plan.config().parallel,
                                                   plan.config().model.num_key_value_heads);
        RoleOptions options = role_options(plan, Device{});
        const auto whole = std::make_shared<Role>(options, groups, random_weights(7));
        options.training->trains = [&](const std::string& name) { return name.starts_with(part); };
        const auto some = std::make_shared<Role>(options, groups, random_weights(7));
        const std::vector<MicroBatch> batches = batches_of(variant, 1);
        engine_of(whole).accumulate(batches, 1);
        engine_of(some).accumulate(batches, 1);
        for (size_t i = 0; i < some->store().all().size(); ++i) {
          const Parameter& parameter = *some->store().all()[i];
          EXPECT_EQ(parameter.trainable(), parameter.name().starts_with(part));
          if (!parameter.trainable()) continue;
          const std::vector<double> got = some->gradients().sum_of(parameter).to_doubles();
          EXPECT_EQ(got, whole->gradients().sum_of(*whole->store().all()[i]).to_doubles())
              << parameter.name() << " pp " << pp;
          EXPECT_TRUE(std::any_of(got.begin(), got.end(), [](double g) { return g != 0; }));
        }
      });
    }
  }
}

// The loss, and the gradients with it, are divided by the sum of the weights.
TEST(Roles, WeightsOfTokensMakeAWeightedMean) {
  const Variant& variant = find_variant("dense_tied_deep");
  std::vector<MicroBatch> batches = batches_of(variant, 1);
  weigh(batches);
  const Scores scores = score_on(variant, {}, Group::self());
  double sum = 0, count = 0;
  for (size_t m = 0; m < batches.size(); ++m) {
    const std::vector<double>& weights = batches[m].token_columns.at(LanguageModeling::kWeights);
    for (size_t i = 0; i < weights.size(); ++i) {
      if (batches[m].labels[i] < 0) continue;
      sum += weights[i] * scores[m][i];
      count += weights[i];
    }
  }
  for (const Layout& layout : std::vector<Layout>{{1, {}},
                                                  {2, {}},
                                                  {2, {.pipeline_parallel_size = 2}},
                                                  {2, {.context_parallel_size = 2}}}) {
    run_ranks(layout.ranks, [&](const Group& world) {
      Engine engine = engine_of(make_role(plan_of(variant, layout.options, world.size()), world,
                                          true, random_weights(3)));
      load_weights(engine.role(), initial_weights(variant));
      std::vector<MicroBatch> own = own_batches(variant, engine.role().groups().data, 1);
      weigh(own);
      const StepResult result = engine.step(own, 1);
      EXPECT_NEAR(result.count, count, 1e-9);
      EXPECT_LE(relative(result.objective_loss, sum / count), 1e-12);
    });
  }
}

void expect_values_of(const Role& role, const Role& want) {
  for (size_t i = 0; i < want.store().all().size(); ++i)
    EXPECT_EQ(role.store().all()[i]->value().to_doubles(),
              want.store().all()[i]->value().to_doubles())
        << role.name() << " " << want.store().all()[i]->name();
}

// Of a role that trains the masters too, unrounded where they come from a checkpoint.
TEST(Roles, WeightsComeFromACheckpointOrAnotherRole) {
  const Variant& variant = find_variant("dense_tied_deep");
  const TemporaryFolder folder;
  run_ranks(2, [&](const Group& world) {
    const RunPlan plan = plan_of(variant, {.precision = "bf16", .pipeline_parallel_size = 2}, 2);
    const auto student = make_role(plan, world, true, random_weights(5), "student");
    engine_of(student).step(batches_of(variant, 1), 1);
    CheckpointWriter writer(world, folder.path(), {});
    writer.save(1, student->saved().tensors(), {});
    EXPECT_TRUE(writer.finish());
    const Manifest manifest = find_newest_valid(world, folder.path()).value();
    for (const bool trains : {true, false}) {
      const auto read =
          make_role(plan, world, trains, checkpoint_weights(manifest, "student."), "read");
      const auto copied = make_role(plan, world, trains, weights_of(*student), "copied");
      expect_values_of(*read, *student);
      expect_values_of(*copied, *student);
      if (!trains) continue;
      for (size_t i = 0; i < student->optimizer().state().size(); ++i) {
        const auto& want = student->optimizer().state()[i].span;
        EXPECT_EQ(read->optimizer().state()[i].span.master.to_doubles(), want.master.to_doubles());
        EXPECT_EQ(copied->optimizer().state()[i].span.master.to_doubles(), want.value.to_doubles());
      }
    }
  });
}

TEST(Roles, TensorsInACheckpointBearTheRolesName) {
  const RunPlan plan = plan_of(find_variant("moe"), {}, 1);
  std::set<std::string> names;
  for (const bool trains : {true, false}) {
    const std::string name = trains ? "student" : "judge";
    const auto role = make_role(plan, Group::self(), trains, random_weights(3), name);
    const auto state = state_texts([&](FieldVisitor& v) { role->fields(v); });
    EXPECT_EQ(state.contains(name + ".updates"), trains);
    for (const CheckpointTensor& tensor : role->saved().tensors()) {
      EXPECT_TRUE(tensor.name.starts_with(name + ".")) << tensor.name;
      EXPECT_TRUE(names.insert(tensor.name).second) << tensor.name;
    }
  }
  EXPECT_TRUE(names.contains("student.optimizer.exp_avg.lm_head.weight"));
  EXPECT_TRUE(names.contains("judge.lm_head.weight"));
}

}  // namespace
}  // namespace orthant::testing
