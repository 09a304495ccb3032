// SPDX-License-Identifier: Apache-2.0
// What published folders call the tensors of a model, and how their elements stand there.  Pure.
#pragma once

#include <string>
#include <vector>

#include "model/config.h"
#include "tensor/shape.h"

namespace orthant {

// A tensor of a folder of which ours is all, or a range of elements.
struct HubSource {
  std::string name;
  Shape shape;             // there
  int64_t first_elem = 0;  // of ours, in it
};

// In each head of so many rows those from `begin` on, `count` of them, are rotary pairs side by
// side (2i, 2i + 1) there, and (i, i + count / 2) here; count 0: none are.
struct RotaryRows {
  int64_t head_rows = 0, begin = 0, count = 0;
};

struct HubTensor {
  // Names that folders have it under; ours are written under the first, where it is whole.
  std::vector<HubSource> sources;
  RotaryRows rotary;
};
// name, shape: of a logical tensor of the model.
HubTensor hub_tensor(const ModelConfig& model, const std::string& name, const Shape& shape);

// Tensors of a folder that no model has parameters for and that say nothing: buffers that old
// versions saved.
bool is_hub_buffer(const std::string& name);
// Those of the layers behind the model's last, for multi-token prediction: kept, and not computed
// with.
bool is_beyond_layers(const ModelConfig& model, const std::string& name);
// Published layers for multi-token prediction have embedding and head once more: what they call
// these, and what we do; empty where the model has no such layer.
struct HubCopy {
  std::string name, ours;
};
std::vector<HubCopy> hub_copies(const ModelConfig& model);

// rows: [rows, row_bytes] of a whole tensor, from the order there to that here, or back.
enum class HubDirection { kIn, kOut };
void reorder_rows(HubDirection direction, const RotaryRows& rotary, int64_t rows, int64_t row_bytes,
                  char* data);

}  // namespace orthant
