// SPDX-License-Identifier: Apache-2.0
#include "tests/layouts/engine_run.h"

#include <map>
#include <mutex>

#include "base/error.h"
#include "parallel/comm/threads/run_ranks.h"
#include "trainer/pretrain_engine.h"

namespace orthant::testing {
namespace {

NamedValues make_initial_weights(const Variant& variant) {
  NamedValues weights = initial_values(plan_of(variant, {.precision = "fp32"}, 1));
  for (auto& [name, values] : weights) {
    // Large enough to change choices.
    for (size_t i = 0; is_router_bias(name) && i < values.size(); ++i)
      values[i] = static_cast<double>(i * 5 % 8) / 64 - 0.0625;
    // The half of an adapter that begins with zeros: otherwise the other has no gradient.
    for (size_t i = 0; is_adapter_tensor(name) && i < values.size(); ++i)
      if (values[i] == 0.0) values[i] = static_cast<double>(i * 5 % 16) / 128 - 0.0625;
    if (name.find("norm.weight") == std::string::npos && !name.ends_with("_proj.bias")) continue;
    // Multiples of 1/32: exact in bf16.
    for (size_t i = 0; i < values.size(); ++i)
      values[i] += static_cast<double>(i * 7 % 16) / 32 - 0.25;
  }
  return weights;
}

}  // namespace

const NamedValues& initial_weights(const Variant& variant) {
  static std::mutex mutex;  // thread ranks ask for them
  static std::map<std::string, NamedValues> known;
  const std::lock_guard lock(mutex);
  const auto found = known.find(variant.name);
  if (found != known.end()) return found->second;
  return known.emplace(variant.name, make_initial_weights(variant)).first->second;
}

Matrices matrices_of(const Variant& variant, const NamedValues& weights) {
  const Engine engine = pretrain_engine(plan_of(variant, {}, 1), Group::self());
  Matrices matrices;
  for (const auto& parameter : engine.role().store().all()) {
    for (const LogicalTensor& logical : parameter->logical()) {
      const bool is_vector = logical.shape.rank() == 1;
      Matrix& w = matrices[logical.name] =
          Matrix(is_vector ? 1 : logical.shape[0], logical.shape[-1]);
      w.is_vector = is_vector;
      w.values = weights.at(logical.name);
    }
  }
  return matrices;
}

RunPlan plan_of(const Variant& variant, const LayoutOptions& options, int world_size) {
  RunConfig config = variant.config;
  config.precision = precision_names().at(options.precision);
  config.run.max_steps = 100;
  config.run.determinism = determinism_names().at(options.determinism);
  config.run.reduction_lanes = options.reduction_lanes;
  config.parallel.recompute = recompute_names().at(options.recompute);
  config.parallel.recompute_layers = options.recompute_layers;
  config.parallel.zero_stage = options.zero_stage;
  config.parallel.bucket_bytes = options.bucket_bytes;
  config.parallel.tensor_parallel_size = options.tensor_parallel_size;
  config.parallel.sequence_parallel = options.sequence_parallel;
  config.parallel.context_parallel_size = options.context_parallel_size;
  config.parallel.context_parallel_kind = context_kind_names().at(options.context_parallel_kind);
  config.parallel.pipeline_parallel_size = options.pipeline_parallel_size;
  config.parallel.pipeline_schedule = options.pipeline_schedule;
  config.parallel.expert_parallel_size = options.expert_parallel_size;
  config.parallel.expert_tensor_parallel_size = options.expert_tensor_parallel_size;
  config.optimizer.kind = options.optimizer == "sgd" ? OptimizerKind::kSgd : OptimizerKind::kAdamW;
  config.optimizer.learning_rate = options.learning_rate;
  return RunPlan(config, world_size);
}

std::vector<MicroBatch> own_batches(const Variant& variant, const Group& group, int64_t step) {
  const std::vector<MicroBatch> all = batches_of(variant, step);
  const auto share = static_cast<std::ptrdiff_t>(all.size()) / group.size();
  return {all.begin() + group.rank() * share, all.begin() + (group.rank() + 1) * share};
}

EngineRun run_engine(const Variant& variant, const LayoutOptions& options, const Group& group) {
  const auto batches = [&](int64_t step, int64_t micro_batch) {
    return batches_of(variant, options.repeat_data ? 1 : step)[static_cast<size_t>(micro_batch)];
  };
  return run_layout(plan_of(variant, options, group.size()), batches,
                    {.steps = options.steps,
                     .gradients = options.gradients,
                     .weights = initial_weights(variant),
                     .replay = options.replay},
                    group);
}

EngineRun run_on_threads(const Variant& variant, const LayoutOptions& options, int num_ranks,
                         int threads_per_rank) {
  std::vector<EngineRun> runs(static_cast<size_t>(num_ranks));
  initial_weights(variant);
  run_ranks(num_ranks,
            [&](const Group& world) {
              runs[static_cast<size_t>(world.rank())] = run_engine(variant, options, world);
            },
            {.threads_per_rank = threads_per_rank});
  for (size_t r = 1; r < runs.size(); ++r) {
    const std::string difference = first_bit_difference(bits_of(runs[r]), bits_of(runs[0]));
    ORTHANT_CHECK(difference.empty(), kInternal, "ranks ", r, " and 0 differ: ", difference);
  }
  return runs.front();
}

}  // namespace orthant::testing
