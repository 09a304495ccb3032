// SPDX-License-Identifier: Apache-2.0
#include "trainer/layout_run.h"

#include <algorithm>

#include "base/error.h"
#include "trainer/pretrain_engine.h"
#include "trainer/training_state.h"
#include "trainer/whole_tensors.h"

namespace orthant {
namespace {

using State = ParameterOptimizer::State;

// What `pick` gives, flat, for this rank's part of a parameter's state, put together from all
// ranks; an undefined tensor has none.
template <class Pick>
NamedValues collect(const Role& role, const Pick& pick) {
  std::vector<CheckpointTensor> pieces;
  for (const State& state : role.optimizer().state()) {
    const Tensor span = pick(state);
    if (!span.defined()) continue;
    for (const auto& [logical, elements, in_span] : state.pieces())
      pieces.push_back(piece_of(*logical, elements, span.flat(in_span.begin, in_span.end)));
  }
  return gather_whole(role.groups().world, pieces);
}

// What every rank computes with.
NamedValues collect_values(const Role& role) {
  std::vector<CheckpointTensor> pieces;
  for (const auto& parameter : role.store().all()) {
    const Tensor elements = parameter->elements();
    for (const LogicalTensor& logical : parameter->logical())
      pieces.push_back(piece_of(logical, {0, logical.shape.numel()},
                                parameter->logical_part(elements, logical)));
  }
  return gather_whole(role.groups().world, pieces);
}

NamedValues mean_gradients(const Role& role, double count) {
  NamedValues gradients =
      collect(role, [&](const State& s) { return role.gradients().sum_of(*s.parameter); });
  for (auto& [name, values] : gradients)
    for (double& g : values) g /= count;
  return gradients;
}

// The rectangle of a whole tensor that a rank holds, row-major.
std::vector<double> rectangle(const std::vector<double>& whole, const LogicalTensor& logical) {
  std::vector<double> part(static_cast<size_t>(logical.shape.numel()));
  const TensorSlice from[] = {whole_slice(logical.global_shape)};
  for (const SliceCopy& run : plan_copies(from, {logical.begin, logical.shape}))
    std::copy_n(whole.begin() + run.from_offset, run.length, part.begin() + run.to_offset);
  return part;
}

void load_fixed(const Parameter& parameter, size_t place, const std::vector<double>& whole) {
  const LogicalTensor& logical = parameter.logical()[place];
  if (parameter.is_quantized())
    return parameter.quantize(place, Tensor::from(logical.global_shape, whole, DType::kF64));
  copy(Tensor::from(logical.shape, rectangle(whole, logical), DType::kF64),
       parameter.logical_part(parameter.value(), logical));
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

// Into the rows of one micro-batch, from `first` on.  Collective over the ranks that share it.
void record_choices(const MoeContext& moe, size_t first, std::vector<RowChoices>& rows) {
  const int64_t sequences = moe.rows.sequences();
  for (const LayerRouting& routing : moe.routings) {
    const Tensor host_ids = moe.rows.gather(routing.ids).to(Device{});
    const int64_t per_row = host_ids.numel() / sequences;
    const int32_t* ids = host_ids.as<int32_t>();
    for (int64_t s = 0; s < sequences; ++s)
      rows[first + static_cast<size_t>(s)][static_cast<size_t>(routing.layer)].assign(
          ids + s * per_row, ids + (s + 1) * per_row);
  }
}

// The layers of all stages, each of which has only its own; all choices are of one size.
void gather_layers_of(const Group& pipeline, const ModelConfig& model, int64_t row_choices,
                      std::vector<RowChoices>& rows) {
  if (pipeline.size() == 1 || !model.is_moe()) return;
  constexpr int kNotHere = -2;
  const auto size = static_cast<size_t>(row_choices);
  std::vector<int32_t> flat;
  for (const RowChoices& row : rows) {
    for (const std::vector<int>& layer : row) {
      if (layer.empty()) flat.insert(flat.end(), size, kNotHere);
      flat.insert(flat.end(), layer.begin(), layer.end());
    }
  }
  const auto count = static_cast<int64_t>(flat.size());
  const Tensor all = Tensor::empty({count * pipeline.size()}, DType::kI32);
  pipeline.all_gather(Tensor::from_i32({count}, flat), all).wait();
  for (int rank = 0; rank < pipeline.size(); ++rank) {
    const int32_t* next = all.as<int32_t>() + rank * count;
    for (RowChoices& row : rows) {
      for (std::vector<int>& layer : row) {
        if (*next != kNotHere) layer.assign(next, next + size);
        next += size;
      }
    }
  }
}

// All ranks' rows of a step: ranks hold them in blocks, all of one shape.
void gather_rows_of(const Group& group, std::vector<RowChoices>& rows) {
  std::vector<int32_t> flat;
  for (const RowChoices& row : rows)
    for (const std::vector<int>& layer : row) flat.insert(flat.end(), layer.begin(), layer.end());
  const auto count = static_cast<int64_t>(flat.size());
  const Tensor all = Tensor::empty({count * group.size()}, DType::kI32);
  group.all_gather(Tensor::from_i32({count}, flat), all).wait();
  const std::vector<RowChoices> own = std::move(rows);
  rows.clear();
  const int32_t* next = all.as<int32_t>();
  for (int rank = 0; rank < group.size(); ++rank) {
    for (RowChoices row : own) {
      for (std::vector<int>& layer : row) {
        std::copy_n(next, layer.size(), layer.begin());
        next += layer.size();
      }
      rows.push_back(std::move(row));
    }
  }
}

}  // namespace

void load_weights(Role& role, const NamedValues& weights) {
  const auto load_master = [&](const State& state) {
    for (const auto& [logical, elements, in_span] : state.pieces()) {
      const std::vector<double> held = rectangle(weights.at(logical->name), *logical);
      const Tensor all = Tensor::from({std::ssize(held)}, held, DType::kF64);
      copy(all.flat(elements.begin, elements.end),
           state.span.master.flat(in_span.begin, in_span.end));
    }
  };
  if (role.trains())
    for (const State& state : role.optimizer().state()) load_master(state);
  for (const Parameter* parameter : fixed_parameters(role.store()))
    for (size_t i = 0; i < parameter->logical().size(); ++i)
      load_fixed(*parameter, i, weights.at(parameter->logical()[i].name));
  role.publish_weights();
}

void add_state(const Role& role, LayoutRun& run) {
  run.weights = collect(role, [](const State& s) { return s.span.master; });
  run.values = collect_values(role);
  // What no optimizer changes has no master.
  for (const auto& [name, values] : run.values) run.weights.try_emplace(name, values);
  run.m = collect(role, [](const State& s) { return s.span.m; });
  run.v = collect(role, [](const State& s) { return s.span.v; });
}

LayoutRun run_layout(const RunPlan& plan, const MicroBatchSource& batches,
                     const LayoutRunOptions& options, const Group& world) {
  const RunConfig& config = plan.config();
  LayoutEngine made =
      options.make ? options.make(plan, world) : LayoutEngine{pretrain_engine(plan, world)};
  Engine& engine = made.engine;
  Role& role = engine.role();
  if (!options.weights.empty()) load_weights(role, options.weights);
  const Group& data = role.groups().data;
  const int64_t sequences = config.batch.micro_batch_size;
  const int64_t own = config.batch.micro_batches() / data.size();
  const int64_t first = data.rank() * own;  // micro-batch of the step
  const auto own_batches = [&](int64_t step) {
    std::vector<MicroBatch> result;
    for (int64_t i = 0; i < own; ++i) result.push_back(batches(step, first + i));
    if (made.look_at) made.look_at(result);
    return result;
  };
  LayoutRun run;
  int64_t step = 1;
  if (options.replay) {
    engine.set_replay([&](int64_t micro_batch, int64_t layer) {
      return replayed_ids((*options.replay)[static_cast<size_t>(step - 1)],
                          (first + micro_batch) * sequences, sequences, layer,
                          config.model.num_experts_per_tok);
    });
  }
  if (options.gradients) {
    const StepResult result = engine.accumulate(own_batches(1), 1);
    run.gradients = mean_gradients(role, result.count);
  }
  engine.set_routing_observer([&](int64_t micro_batch, const MoeContext& moe) {
    record_choices(moe, static_cast<size_t>(micro_batch * sequences), run.choices.back());
  });
  for (; step <= options.steps; ++step) {
    run.choices.emplace_back(static_cast<size_t>(own * sequences),
                             RowChoices(static_cast<size_t>(config.model.num_all_layers())));
    run.steps.push_back(engine.step(own_batches(step), step));
    gather_layers_of(role.groups().pipeline, config.model,
                     config.batch.sequence_length * config.model.num_experts_per_tok,
                     run.choices.back());
    gather_rows_of(data, run.choices.back());
  }
  add_state(role, run);
  return run;
}

NamedValues initial_values(const RunPlan& plan) {
  return collect_values(pretrain_engine(plan, Group::self()).role());
}

NamedValues bits_of(const LayoutRun& run) {
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
    bits["lm_loss"].push_back(step.objective_loss);
    bits["balance_loss"].push_back(step.balance_loss);
    for (const double sum : step.sums) bits["sums"].push_back(sum);
    bits["grad_norm"].push_back(step.grad_norm);
    for (const auto& layer : step.expert_counts) {
      std::vector<double>& counts = bits["expert_counts"];
      counts.insert(counts.end(), layer.begin(), layer.end());
    }
    for (const double dropped : step.dropped) bits["dropped"].push_back(dropped);
  }
  return bits;
}

}  // namespace orthant
