// SPDX-License-Identifier: Apache-2.0
// What a checkpoint holds of a role, under layout-free names, the role's prefix in front of all.
//
//   <logical name>                          weights in the wide type (f64 for f64 models, else
//                                           f32: the masters); frozen ones in the model's own type,
//                                           and not at all beside adapters; quantised ones in
//                                           parts, <logical name>.nf4 (trainer/quantized_weights.h)
//   optimizer.exp_avg.<logical name>        AdamW's first moment
//   optimizer.exp_avg_sq.<logical name>     its second moment
//   hub.<name>                              kept for an export alone
#pragma once

#include <functional>
#include <string>
#include <vector>

#include "checkpoint/checkpoint_tensor.h"
#include "checkpoint/manifest.h"
#include "trainer/role.h"

namespace orthant {

inline constexpr const char* kOptimizerPrefix = "optimizer.";
// Before the names of tensors that an imported model came with and ours has not: layers for
// multi-token prediction.
inline constexpr const char* kHubExtraPrefix = "hub.";
// In a manifest's `extra`: the token that every text of the model begins with, if any.
inline constexpr const char* kBeginKey = "begins_with";

// What no optimizer updates: routers' selection biases, and what is frozen.
std::vector<Parameter*> fixed_parameters(const ParameterStore& store);
// The elements `elements` of the rectangle that this rank holds of a logical tensor.
CheckpointTensor piece_of(const LogicalTensor& logical, const ElementRange& elements, Tensor data,
                          const std::string& prefix = "");
// Views of this rank's masters and moments (with ZeRO, ranges of the tensors' elements), and of
// what no optimizer updates.
std::vector<CheckpointTensor> role_tensors(const Role& role);
// Which logical tensors are meant, by name; empty: all.
using TensorChoice = std::function<bool(const std::string& name)>;
// Weights only, as fresh tensors to load a checkpoint into, in the dtype that it has them in: for a
// model of any precision.
std::vector<CheckpointTensor> weight_tensors(const ParameterStore& store, const Manifest& manifest,
                                             const std::string& prefix = "",
                                             const TensorChoice& chosen = {});
// Writes such tensors into the store's parameters, converting; others stay as they are.
void set_weights(ParameterStore& store, const std::vector<CheckpointTensor>& tensors,
                 const std::string& prefix = "");

}  // namespace orthant
