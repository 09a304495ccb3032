// SPDX-License-Identifier: Apache-2.0
// Learning from a teacher, on layouts: the gradients, weights and sums of one rank, whatever the
// teacher's width, depth and kind.
#include "trainer/distillation.h"

#include <gtest/gtest.h>

#include "parallel/comm/threads/run_ranks.h"
#include "tests/layouts/engine_run.h"
#include "tests/layouts/worst.h"
#include "trainer/pretrain_engine.h"
#include "trainer/teacher.h"
#include "trainer/weight_source.h"

namespace orthant::testing {
namespace {

struct Lesson {
  std::string learner, teacher;
  DistillSection section;
  bool adapters = false;
  double teacher_scale = 1.25;  // of its weights: another model, also where it is of one kind
};

Variant learner_of(const Lesson& lesson) {
  Variant variant = find_variant(lesson.learner);
  if (!lesson.adapters) return variant;
  variant.name += "_distilled_adapters";
  variant.config.lora.rank = 3;
  variant.config.lora.target_modules = {{"all-linear"}, {"lm_head"}};
  return variant;
}

// Frozen, beside what learns; experts are shared out where both have some.
std::shared_ptr<Role> make_teacher_role(const Lesson& lesson, LayoutOptions options,
                                        const Group& world) {
  const Variant& variant = find_variant(lesson.teacher);
  if (!variant.config.model.is_moe() || !find_variant(lesson.learner).config.model.is_moe())
    options.expert_parallel_size = options.expert_tensor_parallel_size = 1;
  Variant on_batch = variant;
  on_batch.config.batch = find_variant(lesson.learner).config.batch;
  const RunPlan plan = plan_of(on_batch, options, world.size());
  RoleOptions role = role_options(plan, Device{});
  role.name = "teacher";
  role.training.reset();
  const auto made = std::make_shared<Role>(
      role,
      make_rank_groups(world, plan.config().parallel, plan.config().model.num_key_value_heads),
      random_weights(11));
  NamedValues weights = initial_weights(variant);
  for (auto& [name, values] : weights)
    for (double& value : values) value *= lesson.teacher_scale;
  load_weights(*made, weights);
  return made;
}

LayoutEngine make_engine(const Lesson& lesson, const LayoutOptions& options, const RunPlan& plan,
                         const Group& world) {
  const auto teacher = std::make_shared<LiveTeacher>(make_teacher_role(lesson, options, world),
                                                     lesson.section, "none");
  const auto objective = std::make_shared<Distillation>(
      lesson.section, teacher->head(), plan.config().model.num_nextn_predict_layers > 0);
  return {pretrain_engine(plan, world, Device{}, random_weights(7), objective),
          [teacher](std::span<MicroBatch> batches) { teacher->look_at(batches); }};
}

EngineRun run_lesson(const Lesson& lesson, const LayoutOptions& options, int ranks) {
  const Variant learner = learner_of(lesson);
  const NamedValues& weights = initial_weights(learner);
  initial_weights(find_variant(lesson.teacher));
  std::vector<EngineRun> runs(static_cast<size_t>(ranks));
  run_ranks(ranks, [&](const Group& world) {
    runs[static_cast<size_t>(world.rank())] = run_layout(
        plan_of(learner, options, ranks),
        [&](int64_t step, int64_t micro_batch) {
          return batches_of(learner, step)[static_cast<size_t>(micro_batch)];
        },
        {.steps = 3,
         .gradients = true,
         .weights = weights,
         .make = [&](const RunPlan& plan,
                     const Group& group) { return make_engine(lesson, options, plan, group); }},
        world);
  });
  return runs.front();
}

struct Layout {
  const char* text;
  int ranks;
  LayoutOptions options;
};

const std::vector<Layout>& dense_layouts() {
  static const std::vector<Layout> layouts = {
      {"dp2", 2, {}},
      {"dp2 zero0", 2, {.zero_stage = 0}},
      {"tp2", 2, {.tensor_parallel_size = 2}},
      {"tp2 without sp", 2, {.tensor_parallel_size = 2, .sequence_parallel = false}},
      {"pp2", 2, {.pipeline_parallel_size = 2}},
      {"pp2 interleaved", 2, {.pipeline_parallel_size = 2, .pipeline_schedule = "interleaved"}},
      // The last stage is on the first rank.
      {"pp2 dualpipev", 2, {.pipeline_parallel_size = 2, .pipeline_schedule = "dualpipev"}},
      {"cp2", 2, {.context_parallel_size = 2}},
      {"cp2, dp2", 4, {.context_parallel_size = 2}},
      {"tp2 cp2 pp2",
       8,
       {.tensor_parallel_size = 2, .context_parallel_size = 2, .pipeline_parallel_size = 2}}};
  return layouts;
}

const std::vector<Layout>& expert_layouts() {
  static const std::vector<Layout> layouts = {
      {"dp2 ep2", 2, {.expert_parallel_size = 2}},
      {"tp2 etp2", 2, {.tensor_parallel_size = 2, .expert_tensor_parallel_size = 2}},
      {"tp2 pp2 ep2",
       4,
       {.tensor_parallel_size = 2, .pipeline_parallel_size = 2, .expert_parallel_size = 2}}};
  return layouts;
}

void expect_layouts(const Lesson& lesson, const std::vector<Layout>& layouts) {
  Worst worst(1e-10);
  const EngineRun want = run_lesson(lesson, {}, 1);
  for (const Layout& layout : layouts) {
    const EngineRun got = run_lesson(lesson, layout.options, layout.ranks);
    worst.expect_values("gradients", got.gradients, want.gradients, layout.text);
    worst.expect_values("weights", got.weights, want.weights, layout.text);
    for (size_t step = 0; step < want.steps.size(); ++step) {
      worst.expect_number("loss", got.steps[step].objective_loss, want.steps[step].objective_loss,
                          layout.text);
      for (size_t i = 0; i < want.steps[step].sums.size(); ++i)
        worst.expect_number("sum", got.steps[step].sums[i], want.steps[step].sums[i], layout.text);
    }
  }
}

DistillSection mixed(int64_t top_k, RestKind rest = RestKind::kBucket) {
  DistillSection section;
  section.top_k = top_k;
  section.temperature = 1.7;
  section.kl = KlKind::kMixed;
  section.mix = 0.6;
  section.rest = rest;
  section.hard_weight = 0.3;
  return section;
}

TEST(DistillationLayouts, LikeliestTokensOfAnotherKindOfTeacher) {
  expect_layouts({"dense_tied_deep", "moe_deep", mixed(7)}, dense_layouts());
}

TEST(DistillationLayouts, AllTokens) {
  expect_layouts({"dense_tied_deep", "dense_tied_deep", mixed(0)}, dense_layouts());
}

TEST(DistillationLayouts, LikeliestTokensAlone) {
  expect_layouts({"dense_gqa", "moe", mixed(5, RestKind::kNone)},
                 {dense_layouts()[0], dense_layouts()[2]});
}

TEST(DistillationLayouts, TheRestMakesADifference) {
  const Lesson with{"dense_gqa", "moe", mixed(5)},
      without{"dense_gqa", "moe", mixed(5, RestKind::kNone)};
  const StepResult rest = run_lesson(with, {}, 1).steps.front(),
                   none = run_lesson(without, {}, 1).steps.front();
  EXPECT_EQ(rest.sums[Distillation::kLmLoss], none.sums[Distillation::kLmLoss]);
  EXPECT_GT(std::abs(rest.objective_loss - none.objective_loss), 1e-3);
}

// More tokens than a rank's part of the vocabulary has.
TEST(DistillationLayouts, MoreTokensThanAPartHas) {
  expect_layouts({"dense_gqa", "moe", mixed(50)}, {dense_layouts()[2], dense_layouts()[3]});
}

TEST(DistillationLayouts, ExpertsOfBoth) {
  std::vector<Layout> layouts = expert_layouts();
  layouts.push_back({"cp2 ulysses, ep2",
                     4,
                     {.context_parallel_size = 2,
                      .context_parallel_kind = "ulysses",
                      .expert_parallel_size = 2}});
  expect_layouts({"moe", "moe", mixed(7)}, layouts);
}

TEST(DistillationLayouts, AdaptersLearnFromADenseTeacher) {
  expect_layouts({"moe", "dense_gqa", mixed(9), /*adapters=*/true},
                 {dense_layouts()[0], dense_layouts()[2], dense_layouts()[7], expert_layouts()[0]});
}

TEST(DistillationLayouts, BesideMultiTokenPrediction) {
  expect_layouts({"moe_v3_mtp", "dense_gqa", mixed(6)}, {dense_layouts()[0], dense_layouts()[2]});
}

// In every direction, by likeliest tokens and by all.
TEST(DistillationLayouts, ATeacherThatIsTheLearnerTeachesNothing) {
  for (const int64_t top_k : {0, 8, 61}) {
    for (const KlKind kl : {KlKind::kForward, KlKind::kReverse, KlKind::kMixed}) {
      DistillSection section = mixed(top_k);
      section.kl = kl;
      section.hard_weight = 0;
      const Lesson lesson{"dense_gqa", "dense_gqa", section, /*adapters=*/false,
                          /*teacher_scale=*/1.0};
      const EngineRun run = run_lesson(lesson, {.tensor_parallel_size = 2}, 2);
      const StepResult& first = run.steps.front();
      EXPECT_NEAR(first.objective_loss, 0, 1e-13);
      EXPECT_EQ(first.sums[Distillation::kAgreement], first.count);
      EXPECT_GT(first.sums[Distillation::kLmLoss], 1);
      for (const auto& [name, gradient] : run.gradients)
        for (const double g : gradient) ASSERT_NEAR(g, 0, 1e-13) << name;
    }
  }
}

// All tokens, by their ids or without.
TEST(DistillationLayouts, TheWholeVocabularyIsTheWholeVocabulary) {
  Worst worst(1e-10);
  const EngineRun want = run_lesson({"dense_gqa", "moe", mixed(0)}, {}, 1);
  const EngineRun got = run_lesson({"dense_gqa", "moe", mixed(61)}, {}, 1);
  worst.expect_values("gradients", got.gradients, want.gradients, "by ids");
  worst.expect_number("loss", got.steps[0].objective_loss, want.steps[0].objective_loss, "by ids");
}

// With no weight on the teacher it is fine-tuning, to the bit.
TEST(DistillationLayouts, LabelsAloneAreLanguageModelling) {
  DistillSection section = mixed(7);
  section.hard_weight = 1;
  const EngineRun got = run_lesson({"dense_gqa", "moe", section}, {}, 1);
  const EngineRun want = run_on_threads(find_variant("dense_gqa"), {.gradients = true}, 1);
  EXPECT_EQ(got.gradients, want.gradients);
  EXPECT_EQ(got.steps[2].objective_loss, want.steps[2].objective_loss);
}

}  // namespace
}  // namespace orthant::testing
