// SPDX-License-Identifier: Apache-2.0
// Learning from a teacher, on layouts: the gradients, weights and sums of one rank, whatever the
// teacher's width, depth and kind.
#include "trainer/distillation.h"

#include <gtest/gtest.h>

#include "tests/layouts/lesson.h"
#include "tests/layouts/worst.h"

namespace orthant::testing {
namespace {

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
      const Lesson lesson{
          .learner = "dense_gqa", .teacher = "dense_gqa", .section = section, .teacher_scale = 1.0};
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
