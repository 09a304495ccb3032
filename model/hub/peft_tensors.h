// SPDX-License-Identifier: Apache-2.0
// What PEFT calls the tensors of adapters, and how their elements stand there.  Pure.
//
// transformers 5 holds the experts of a layer in two parameters, gate_up_proj [E, 2 I, H] (gate's
// rows first) and down_proj [E, H, I].  The adapter of such a parameter is one pair for all
// experts:
//   A [E r, in]    row e r + k of expert e        B [out, r E]    column k E + e
// of gate_up_proj under experts.base_layer where down_proj has one too, else under experts.
#pragma once

#include <optional>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "model/hub/hub_tensors.h"

namespace orthant {

inline constexpr const char* kPeftPrefix = "base_model.model.";

// One of our tensors, a matrix or a vector, whose element (row, column) is element
// first + row * row_stride + column * column_stride of a tensor of the folder.
struct PeftTensor {
  std::string name;
  Shape shape;
  std::string source;
  Shape source_shape;
  int64_t first = 0, row_stride = 0, column_stride = 1;
  RotaryRows rotary = {};  // of our rows
};

// All of a tensor of the folder, in its order.
PeftTensor whole_peft_tensor(const std::string& name, const Shape& shape,
                             const std::string& source);
// The two matrices of a module that PEFT calls `theirs`.  module: "lm_head" or of a weight [out,
// in] of the model, not of a routed expert in one of transformers' parameters.
std::vector<PeftTensor> peft_pair(const ModelConfig& model, const std::string& module,
                                  const std::string& theirs, const Shape& weight, int64_t rank);
// The magnitudes of its rows, with DoRA.
PeftTensor peft_magnitude(const ModelConfig& model, const std::string& module,
                          const std::string& source, const Shape& weight);
// The embedding's, which has other names and whose A is transposed.
std::vector<PeftTensor> peft_embedding_pair(const std::string& module, const Shape& weight,
                                            int64_t rank);

// The pair of a layer's routed experts that stands for one part of theirs: "gate_proj", "up_proj"
// or "down_proj".
struct PeftExperts {
  std::string layer;   // "model.layers.3.mlp.experts"
  std::string module;  // what has the pair: layer, or with ".base_layer"
  std::string part;
  int64_t experts = 0, width = 0, inner = 0;  // E, H, I
  int64_t rank = 0;                           // of the pair in the folder
  int64_t first = 0, part_rank = 0;           // of its columns of B those that are this part's

  bool is_down() const { return part == "down_proj"; }
  Shape a_shape() const { return {experts * rank, is_down() ? inner : width}; }
  Shape b_shape() const { return {is_down() ? width : 2 * inner, rank * experts}; }
};
// Of every expert A and B.
std::vector<PeftTensor> peft_expert_pairs(const PeftExperts& of);

// "model.layers.3.mlp.experts" and "gate_proj" of a routed expert's module; none of another.
struct ExpertModule {
  std::string layer, part;
  int64_t expert = 0;
};
std::optional<ExpertModule> expert_module(const std::string& module);

// Moves a tensor's elements, of so many bytes each.
void gather_peft(const PeftTensor& tensor, int64_t elem_bytes, const char* source, char* ours);
void scatter_peft(const PeftTensor& tensor, int64_t elem_bytes, const char* ours, char* source);

// The shortest last parts ("q_proj", "mlp.gate_proj") by which each of `chosen` is named and none
// of `others`, sorted; all of the name where no shorter ones will do.
std::vector<std::string> shortest_names(const std::set<std::string>& chosen,
                                        const std::set<std::string>& others);

}  // namespace orthant
