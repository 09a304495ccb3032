// SPDX-License-Identifier: Apache-2.0
#include "tests/layouts/lesson.h"

#include "parallel/comm/threads/run_ranks.h"
#include "trainer/device.h"
#include "trainer/pretrain_engine.h"
#include "trainer/teacher.h"
#include "trainer/weight_source.h"

namespace orthant::testing {
namespace {

Variant learner_of(const Lesson& lesson) {
  Variant variant = find_variant(lesson.learner);
  variant.config.device = lesson.device;
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
  RoleOptions role = role_options(plan, device_of(lesson.device));
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
  return {pretrain_engine(plan, world, device_of(lesson.device), random_weights(7), objective),
          [teacher](std::span<MicroBatch> batches) { teacher->look_at(batches); }};
}

}  // namespace

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

}  // namespace orthant::testing
