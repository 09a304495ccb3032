// SPDX-License-Identifier: Apache-2.0
#include "tests/layouts/engine_run.h"

#include <algorithm>
#include <map>
#include <mutex>
#include <numeric>
#include <sstream>

#include "base/context.h"
#include "base/error.h"
#include "parallel/comm/threads/run_ranks.h"

namespace orthant::testing {
namespace {

using State = ParameterOptimizer::State;

// Elements [begin, begin + values.size()) of a logical tensor.
struct Slice {
  int64_t begin = 0;
  std::vector<double> values;
};
using Slices = std::map<std::string, Slice>;

void put(const std::string& name, int64_t begin, std::span<const double> values,
         NamedValues& result) {
  std::vector<double>& whole = result[name];
  whole.resize(std::max(whole.size(), static_cast<size_t>(begin) + values.size()));
  std::copy(values.begin(), values.end(), whole.begin() + begin);
}

// Everybody's slices put together.  Collective.
NamedValues gather_slices(const Group& group, const Slices& mine) {
  std::string table;
  std::vector<double> values;
  for (const auto& [name, slice] : mine) {
    table += concat(name, " ", slice.begin, " ", slice.values.size(), "\n");
    values.insert(values.end(), slice.values.begin(), slice.values.end());
  }
  std::vector<int64_t> sizes(static_cast<size_t>(group.size()), 0);
  const auto counts = group.gather_text(std::to_string(values.size()));
  std::transform(counts.begin(), counts.end(), sizes.begin(),
                 [](const std::string& text) { return std::stoll(text); });
  const Tensor all =
      Tensor::empty({std::accumulate(sizes.begin(), sizes.end(), int64_t{0})}, DType::kF64);
  group.all_gather(Tensor::from({std::ssize(values)}, values, DType::kF64), all, sizes).wait();
  NamedValues result;
  const double* next = all.as<double>();
  for (const std::string& text : group.gather_text(table)) {
    std::istringstream in(text);
    std::string name;
    int64_t begin = 0;
    for (size_t count = 0; in >> name >> begin >> count; next += count)
      put(name, begin, {next, count}, result);
  }
  return result;
}

// The logical tensors of what `pick` gives, flat, for this rank's part of a parameter's state; an
// undefined tensor has none.  With ZeRO from all ranks, and collective.
template <class Pick>
NamedValues collect(Engine& engine, const Pick& pick) {
  Slices slices;
  for (const State& state : engine.optimizer().state()) {
    const Tensor span = pick(state);
    if (!span.defined()) continue;
    for (const auto& [logical, elements, in_span] : state.pieces())
      slices[logical->name] = {elements.begin, span.flat(in_span.begin, in_span.end).to_doubles()};
  }
  return gather_slices(engine.gradients().zero() ? engine.group() : Group::self(), slices);
}

// What the model computes with on this rank.
NamedValues values_of(Engine& engine) {
  NamedValues values;
  for (const auto& parameter : engine.store().all()) {
    for (const LogicalTensor& logical : parameter->logical())
      values[logical.name] = parameter->logical_part(parameter->value(), logical).to_doubles();
  }
  return values;
}

NamedValues mean_gradients(Engine& engine, int64_t labelled_tokens) {
  NamedValues gradients =
      collect(engine, [&](const State& s) { return engine.gradients().sum_of(*s.parameter); });
  for (auto& [name, values] : gradients)
    for (double& g : values) g /= static_cast<double>(labelled_tokens);
  return gradients;
}

// Rows of a micro-batch in the step.
int64_t first_row(const Group& group, int64_t local_micro_batches, int64_t micro_batch,
                  int64_t sequences) {
  return (group.rank() * local_micro_batches + micro_batch) * sequences;
}

// i32 [N, A] of the rows [begin, begin + sequences).
Tensor replayed_ids(const std::vector<RowChoices>& rows, int64_t begin, int64_t sequences,
                    int64_t layer, int64_t experts_per_token) {
  std::vector<int32_t> ids;
  for (int64_t r = begin; r < begin + sequences; ++r) {
    const std::vector<int>& chosen = rows[static_cast<size_t>(r)][static_cast<size_t>(layer)];
    ids.insert(ids.end(), chosen.begin(), chosen.end());
  }
  return Tensor::from_i32({static_cast<int64_t>(ids.size()) / experts_per_token, experts_per_token},
                          ids);
}

// Appends the rows of one micro-batch.
void record_choices(const MoeContext& moe, int64_t sequences, int64_t layers,
                    std::vector<RowChoices>& rows) {
  const size_t first = rows.size();
  rows.resize(first + static_cast<size_t>(sequences), RowChoices(static_cast<size_t>(layers)));
  for (const LayerRouting& routing : moe.routings) {
    const int64_t per_row = routing.ids.numel() / sequences;
    const Tensor host_ids = routing.ids.to(Device{});
    const int32_t* ids = host_ids.as<int32_t>();
    for (int64_t s = 0; s < sequences; ++s)
      rows[first + static_cast<size_t>(s)][static_cast<size_t>(routing.layer)].assign(
          ids + s * per_row, ids + (s + 1) * per_row);
  }
}

Matrices make_initial_weights(const Variant& variant) {
  Engine engine(resolved_config(variant, {.precision = "fp32"}, 1), Group::self());
  Matrices weights;
  for (const State& state : engine.optimizer().state()) {
    for (const LogicalTensor& logical : state.parameter->logical()) {
      const bool is_vector = logical.shape.rank() == 1;
      Matrix& w = weights[logical.name] =
          Matrix(is_vector ? 1 : logical.shape[0], logical.shape[-1]);
      w.is_vector = is_vector;
      w.values = state.parameter->logical_part(state.parameter->value(), logical).to_doubles();
      // Multiples of 1/32: exact in bf16.
      for (size_t i = 0; is_vector && i < w.values.size(); ++i)
        w.values[i] += static_cast<double>(i * 7 % 16) / 32 - 0.25;
    }
  }
  return weights;
}

}  // namespace

const Matrices& initial_weights(const Variant& variant) {
  static std::mutex mutex;  // thread ranks ask for them
  static std::map<std::string, Matrices> known;
  const std::lock_guard lock(mutex);
  const auto found = known.find(variant.name);
  if (found != known.end()) return found->second;
  return known.emplace(variant.name, make_initial_weights(variant)).first->second;
}

RunConfig resolved_config(const Variant& variant, const EngineOptions& options, int world_size) {
  RunConfig config = variant.config;
  config.precision = options.precision;
  config.run.max_steps = 100;
  config.run.determinism = options.determinism;
  config.run.reduction_lanes = options.reduction_lanes;
  config.parallel.recompute = options.recompute;
  config.parallel.zero_stage = options.zero_stage;
  config.parallel.bucket_bytes = options.bucket_bytes;
  config.optimizer.name = options.optimizer;
  config.optimizer.learning_rate = options.learning_rate;
  config.resolve(world_size);
  return config;
}

void load_weights(Engine& engine, const Matrices& weights) {
  for (const State& state : engine.optimizer().state()) {
    for (const auto& [logical, elements, in_span] : state.pieces()) {
      const Tensor whole =
          Tensor::from({logical->shape.numel()}, weights.at(logical->name).values, DType::kF64);
      copy(whole.flat(elements.begin, elements.end),
           state.span.master.flat(in_span.begin, in_span.end));
    }
  }
  engine.optimizer().values_from_masters();
}

std::vector<Batch> own_batches(const Variant& variant, const Group& group, int64_t step) {
  const std::vector<Batch> all = batches_of(variant, step);
  const auto share = static_cast<std::ptrdiff_t>(all.size()) / group.size();
  return {all.begin() + group.rank() * share, all.begin() + (group.rank() + 1) * share};
}

EngineRun state_of(Engine& engine) {
  return {.weights = collect(engine, [](const State& s) { return s.span.master; }),
          .values = values_of(engine),
          .m = collect(engine, [](const State& s) { return s.span.m; }),
          .v = collect(engine, [](const State& s) { return s.span.v; })};
}

EngineRun run_engine(const Variant& variant, const EngineOptions& options, const Group& group) {
  const RunConfig config = resolved_config(variant, options, group.size());
  Engine engine(config, group);
  load_weights(engine, initial_weights(variant));
  const int64_t sequences = config.batch.micro_batch_size;
  const int64_t local_micro_batches = config.batch.micro_batches() / group.size();
  EngineRun run;
  int64_t step = 1;
  if (options.replay) {
    engine.set_replay([&](int64_t micro_batch, int64_t layer) {
      return replayed_ids((*options.replay)[static_cast<size_t>(step - 1)],
                          first_row(group, local_micro_batches, micro_batch, sequences), sequences,
                          layer, config.model.num_experts_per_tok);
    });
  }
  if (options.gradients) {
    const StepResult result = engine.accumulate(own_batches(variant, group, 1), 1);
    run.gradients = mean_gradients(engine, result.labelled_tokens);
  }
  engine.set_routing_observer([&](int64_t, const MoeContext& moe) {
    record_choices(moe, sequences, config.model.num_hidden_layers, run.choices.back());
  });
  for (; step <= options.steps; ++step) {
    run.choices.emplace_back();
    const int64_t data_step = options.repeat_data ? 1 : step;
    run.steps.push_back(engine.step(own_batches(variant, group, data_step), step));
  }
  EngineRun state = state_of(engine);
  state.steps = std::move(run.steps);
  state.gradients = std::move(run.gradients);
  state.choices = std::move(run.choices);
  return state;
}

EngineRun run_on_threads(const Variant& variant, const EngineOptions& options, int num_ranks,
                         int threads_per_rank) {
  std::vector<EngineRun> runs(static_cast<size_t>(num_ranks));
  initial_weights(variant);
  run_ranks(num_ranks,
            [&](const Group& world) {
              runs[static_cast<size_t>(world.rank())] = run_engine(variant, options, world);
            },
            {.threads_per_rank = threads_per_rank});
  EngineRun result = runs.front();
  for (size_t r = 1; r < runs.size(); ++r) {
    const std::string difference = first_bit_difference(bits_of(runs[r]), bits_of(runs[0]));
    ORTHANT_CHECK(difference.empty(), kInternal, "ranks ", r, " and 0 differ: ", difference);
    for (size_t step = 0; step < result.choices.size(); ++step) {
      const std::vector<RowChoices>& rows = runs[r].choices[step];
      result.choices[step].insert(result.choices[step].end(), rows.begin(), rows.end());
    }
  }
  return result;
}

NamedValues bits_of(const EngineRun& run) {
  NamedValues bits;
  const auto add = [&](const char* kind, const NamedValues& values) {
    for (const auto& [name, tensor] : values) bits[concat(kind, " ", name)] = tensor;
  };
  add("gradient", run.gradients);
  add("weight", run.weights);
  add("value", run.values);
  add("m", run.m);
  add("v", run.v);
  for (const StepResult& step : run.steps) {
    bits["lm_loss"].push_back(step.lm_loss);
    bits["balance_loss"].push_back(step.balance_loss);
    bits["grad_norm"].push_back(step.grad_norm);
    for (const auto& layer : step.expert_counts) {
      std::vector<double>& counts = bits["expert_counts"];
      counts.insert(counts.end(), layer.begin(), layer.end());
    }
  }
  return bits;
}

}  // namespace orthant::testing
