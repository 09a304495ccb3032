// SPDX-License-Identifier: Apache-2.0
#include "trainer/training_state.h"

#include <map>

#include "base/error.h"
#include "trainer/quantized_weights.h"

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

namespace {

// Views of what is held of the logical tensor at a place of a parameter: its parts, where it is
// quantised.
std::vector<CheckpointTensor> held_pieces(const Parameter& parameter, size_t place,
                                          const std::string& prefix) {
  const LogicalTensor& logical = parameter.table()[place];
  if (!parameter.is_quantized())
    return {piece_of(logical, {0, logical.shape.numel()},
                     parameter.logical_part(parameter.value(), logical), prefix)};
  std::vector<CheckpointTensor> pieces;
  for (const QuantizedPart& part : parameter.quantized()[place].parts())
    pieces.push_back({.name = concat(prefix, logical.name, part.suffix),
                      .global_shape = part.whole,
                      .begin = part.begin,
                      .shape = part.data.shape(),
                      .data = part.data});
  return pieces;
}

// That a checkpoint holds a weight as the model does.
void check_held(const Manifest& manifest, const QuantizationRecord& record, const std::string& name,
                Quantization wanted) {
  const Quantization held = record.weights.contains(name) ? record.format : Quantization::kNone;
  if (held == wanted) return;
  const auto as = [](Quantization format) {
    return format == Quantization::kNone ? "whole" : "as " + quantization_names().of(format);
  };
  const char* hint =
      wanted == Quantization::kNone
          ? "what is quantised cannot train (lora.modules_to_save): begin with the model that was "
            "quantised, or quantise it with --exclude"
      : held == Quantization::kNone
          ? "quantization.exclude_modules leaves it out there: want the same here"
          : "want quantization.format as it is there, or another run that begins with the model "
            "that was quantised";
  throw_error(ErrorKind::kConfig,
              concat("quantization: ", manifest.directory, " holds ", name, " ", as(held),
                     ", and the model wants it ", as(wanted), "; ", hint));
}

}  // namespace

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
  for (const Parameter* parameter : fixed_parameters(role.store()))
    for (size_t i = 0; i < parameter->logical().size(); ++i)
      for (CheckpointTensor& piece : held_pieces(*parameter, i, role.prefix()))
        tensors.push_back(std::move(piece));
  return tensors;
}

std::vector<CheckpointTensor> weight_tensors(const ParameterStore& store, const Manifest& manifest,
                                             const std::string& prefix,
                                             const TensorChoice& chosen) {
  const QuantizationRecord record = quantization_record(manifest);
  std::vector<CheckpointTensor> tensors;
  for (const auto& parameter : store.all()) {
    for (size_t i = 0; i < parameter->logical().size(); ++i) {
      const std::string& name = parameter->logical()[i].name;
      if (chosen && !chosen(name)) continue;
      check_held(manifest, record, prefix + name, parameter->quantization());
      for (CheckpointTensor& piece : held_pieces(*parameter, i, prefix)) {
        const ManifestTensor* stored = manifest.find(piece.name);
        const DType dtype = stored                      ? stored->dtype
                            : parameter->is_quantized() ? piece.data.dtype()
                                                        : parameter->grad_dtype();
        piece.data = Tensor::empty(piece.shape, dtype);
        tensors.push_back(std::move(piece));
      }
    }
  }
  return tensors;
}

void set_weights(ParameterStore& store, const std::vector<CheckpointTensor>& tensors,
                 const std::string& prefix) {
  std::map<std::string, const CheckpointTensor*> by_name;
  for (const CheckpointTensor& tensor : tensors) by_name[tensor.name] = &tensor;
  for (const auto& parameter : store.all()) {
    for (size_t i = 0; i < parameter->logical().size(); ++i) {
      for (const CheckpointTensor& piece : held_pieces(*parameter, i, prefix)) {
        const auto found = by_name.find(piece.name);
        if (found != by_name.end()) copy(found->second->data.view(piece.shape), piece.data);
      }
    }
    parameter->value_changed();
  }
}

}  // namespace orthant
