// SPDX-License-Identifier: Apache-2.0
#include "trainer/weight_source.h"

#include <map>

#include "base/error.h"
#include "checkpoint/reader.h"

namespace orthant {
namespace {

// Masters from the weights that are computed with.
void masters_from_values(Role& role) {
  if (!role.trains()) return;
  for (const ParameterOptimizer::State& state : role.optimizer().state())
    if (!state.span.master.shares_storage_with(state.span.value))
      copy(state.span.value, state.span.master);
}

// Masters from tensors in checkpoint order: unrounded.
void set_masters(Role& role, const std::vector<CheckpointTensor>& tensors) {
  if (!role.trains()) return;
  std::map<std::string, const CheckpointTensor*> by_name;
  for (const CheckpointTensor& tensor : tensors) by_name[tensor.name] = &tensor;
  for (const ParameterOptimizer::State& state : role.optimizer().state()) {
    for (const auto& [logical, elements, in_span] : state.pieces()) {
      const auto found = by_name.find(role.prefix() + logical->name);
      if (found == by_name.end()) continue;
      const Tensor& data = found->second->data;
      copy(data.flat(elements.begin, elements.end),
           state.span.master.flat(in_span.begin, in_span.end));
    }
  }
}

// Of parameters that are laid out alike.
void copy_held(const Parameter& from, const Parameter& to) {
  if (!from.is_quantized()) return copy(from.value(), to.value());
  for (size_t i = 0; i < from.quantized().size(); ++i) {
    const std::vector<QuantizedPart> parts = from.quantized()[i].parts();
    for (size_t p = 0; p < parts.size(); ++p)
      copy(parts[p].data, to.quantized()[i].parts()[p].data);
  }
}

// What a rank holds of a whole tensor on the host.
Tensor rectangle(const Tensor& whole, const LogicalTensor& logical) {
  if (logical.is_whole()) return whole;
  const Tensor part = Tensor::empty(logical.shape, whole.dtype());
  const TensorSlice from[] = {whole_slice(logical.global_shape)};
  for (const SliceCopy& run : plan_copies(from, {logical.begin, logical.shape}))
    copy(whole.flat(run.from_offset, run.from_offset + run.length),
         part.flat(run.to_offset, run.to_offset + run.length));
  return part;
}

}  // namespace

WeightSource random_weights(uint64_t seed) {
  return [seed](Role& role) {
    for (Parameter* parameter : fixed_parameters(role.store())) parameter->initialize(seed);
    if (role.trains()) role.optimizer().initialize(seed);
  };
}

WeightSource checkpoint_weights(Manifest manifest, std::string prefix, TensorChoice chosen) {
  return [manifest = std::move(manifest), prefix = std::move(prefix),
          chosen = std::move(chosen)](Role& role) {
    std::vector<CheckpointTensor> weights = weight_tensors(role.store(), manifest, prefix, chosen);
    // Moments, and other roles, stay where they are.
    std::vector<std::string> unused;
    for (const ManifestTensor& tensor : manifest.tensors) unused.push_back(tensor.name);
    load_tensors(role.groups().world, manifest, weights, {.unused_prefixes = std::move(unused)});
    for (CheckpointTensor& tensor : weights)
      tensor.name = role.prefix() + tensor.name.substr(prefix.size());
    set_weights(role.store(), weights, role.prefix());
    set_masters(role, weights);
  };
}

WeightSource random_adapters(uint64_t seed) {
  return [seed](Role& role) {
    const auto is_adapter = [](const Parameter& parameter) {
      return is_adapter_tensor(parameter.table().front().name);
    };
    for (const auto& parameter : role.store().all())
      if (is_adapter(*parameter)) parameter->initialize(seed);
    for (const auto& stage : role.pipeline().stages()) stage->adapters()->set_magnitudes();
    if (!role.trains()) return;
    for (const ParameterOptimizer::State& state : role.optimizer().state())
      if (!state.span.master.shares_storage_with(state.span.value) && is_adapter(*state.parameter))
        state.parameter->write_initial_values(seed, state.range.begin, state.span.master);
  };
}

WeightSource adapted_weights(Manifest base, WeightSource adapters) {
  const auto is_base = [](const std::string& name) { return !is_adapter_tensor(name); };
  return [of_base = checkpoint_weights(std::move(base), "", is_base),
          adapters = std::move(adapters)](Role& role) {
    of_base(role);
    adapters(role);
  };
}

WeightSource given_weights(std::function<Tensor(const LogicalTensor& tensor)> whole) {
  return [whole = std::move(whole)](Role& role) {
    std::vector<CheckpointTensor> weights;
    for (const auto& parameter : role.store().all()) {
      for (size_t i = 0; i < parameter->logical().size(); ++i) {
        const LogicalTensor& logical = parameter->logical()[i];
        const Tensor all = whole(logical);
        if (!all.defined()) continue;
        if (parameter->is_quantized()) {
          parameter->quantize(i, all);
        } else {
          weights.push_back(piece_of(logical, {0, logical.shape.numel()}, rectangle(all, logical),
                                     role.prefix()));
        }
      }
    }
    set_weights(role.store(), weights, role.prefix());
    set_masters(role, weights);
  };
}

WeightSource weights_of(const Role& other) {
  return [&other](Role& role) {
    const auto& from = other.store().all();
    const auto& to = role.store().all();
    ORTHANT_CHECK(from.size() == to.size(), kConfig, "role ", role.name(),
                  ": want the parameters of role ", other.name(), ", which has ", from.size(),
                  " storages, got ", to.size());
    for (size_t i = 0; i < to.size(); ++i) {
      ORTHANT_CHECK(from[i]->name() == to[i]->name() && from[i]->shape() == to[i]->shape() &&
                        from[i]->quantization() == to[i]->quantization(),
                    kConfig, "role ", role.name(), ": ", to[i]->name(), " is not laid out as ",
                    from[i]->name(), " of role ", other.name());
      copy_held(*from[i], *to[i]);
      to[i]->value_changed();
    }
    masters_from_values(role);
  };
}

}  // namespace orthant
