// SPDX-License-Identifier: Apache-2.0
#include "trainer/training_state.h"

#include <map>

namespace orthant {

CheckpointTensor piece_of(const LogicalTensor& logical, const ElementRange& elements, Tensor data,
                          const std::string& prefix) {
  return {.name = prefix + logical.name,
          .global_shape = logical.global_shape,
          .begin = logical.begin,
          .shape = logical.shape,
          .flat_begin = elements.begin,
          .flat_size = elements.size(),
          .data = std::move(data)};
}

std::vector<Parameter*> fixed_parameters(const ParameterStore& store) {
  std::vector<Parameter*> fixed;
  for (const auto& parameter : store.all())
    if (!parameter->trainable()) fixed.push_back(parameter.get());
  return fixed;
}

std::vector<CheckpointTensor> role_tensors(const Role& role) {
  std::vector<CheckpointTensor> tensors;
  const auto add_trained = [&](const ParameterOptimizer::State& state) {
    for (const auto& [logical, elements, in_span] : state.pieces()) {
      const auto add = [&](const std::string& kind, const Tensor& span) {
        if (!span.defined()) return;
        const Tensor data = span.flat(in_span.begin, in_span.end);
        tensors.push_back(piece_of(*logical, elements, data, role.prefix() + kind));
      };
      add("", state.span.master);
      add("optimizer.exp_avg.", state.span.m);
      add("optimizer.exp_avg_sq.", state.span.v);
    }
  };
  if (role.trains())
    for (const ParameterOptimizer::State& state : role.optimizer().state()) add_trained(state);
  // The base of adapters is a checkpoint of its own.
  if (role.has_adapters()) return tensors;
  for (const Parameter* parameter : fixed_parameters(role.store())) {
    for (const LogicalTensor& logical : parameter->logical())
      tensors.push_back(piece_of(logical, {0, logical.shape.numel()},
                                 parameter->logical_part(parameter->value(), logical),
                                 role.prefix()));
  }
  return tensors;
}

std::vector<CheckpointTensor> weight_tensors(const ParameterStore& store, const Manifest& manifest,
                                             const std::string& prefix,
                                             const TensorChoice& chosen) {
  std::vector<CheckpointTensor> tensors;
  for (const auto& parameter : store.all()) {
    for (const LogicalTensor& logical : parameter->logical()) {
      if (chosen && !chosen(logical.name)) continue;
      const ManifestTensor* stored = manifest.find(prefix + logical.name);
      const DType dtype = stored ? stored->dtype : parameter->grad_dtype();
      tensors.push_back(piece_of(logical, {0, logical.shape.numel()},
                                 Tensor::empty(logical.shape, dtype), prefix));
    }
  }
  return tensors;
}

void set_weights(ParameterStore& store, const std::vector<CheckpointTensor>& tensors,
                 const std::string& prefix) {
  std::map<std::string, const CheckpointTensor*> by_name;
  for (const CheckpointTensor& tensor : tensors) by_name[tensor.name] = &tensor;
  for (const auto& parameter : store.all()) {
    for (const LogicalTensor& logical : parameter->logical()) {
      const auto found = by_name.find(prefix + logical.name);
      if (found == by_name.end()) continue;
      copy(found->second->data.view(logical.shape),
           parameter->logical_part(parameter->value(), logical));
    }
    parameter->value_changed();
  }
}

}  // namespace orthant
