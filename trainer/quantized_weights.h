// SPDX-License-Identifier: Apache-2.0
// The weights of a checkpoint by their logical names, however they are held there: whole, or
// quantised, in parts "NAME.nf4", "NAME.nf4_scale", "NAME.nf4_nested", or "NAME.int8",
// "NAME.int8_scale" (tensor/ops/quantize.h).
#pragma once

#include <map>
#include <span>
#include <string>
#include <vector>

#include "checkpoint/manifest.h"
#include "tensor/ops/quantize.h"

namespace orthant {

// In a manifest's `extra`: which weights are quantised and how far off they are; and where the
// checkpoint is that they were quantised from, with the fingerprint of its weights behind ", ".
inline constexpr const char* kQuantizationKey = "quantization";
inline constexpr const char* kQuantizedFromKey = "quantized_from";

struct QuantizedWeight {
  Shape shape;
  double error = 0;  // relative_error when it was quantised
};
struct QuantizationRecord {
  Quantization format = Quantization::kNone;
  std::map<std::string, QuantizedWeight> weights;  // by logical name
};
std::string to_text(const QuantizationRecord& record);
// Of a checkpoint; format kNone where nothing is quantised.  Error(kData): malformed.
QuantizationRecord quantization_record(const Manifest& manifest);

// A logical weight of a checkpoint.
struct StoredWeight {
  std::string name;
  DType dtype;  // that it is read in: f32, where it is quantised
  Shape shape;
  Quantization format = Quantization::kNone;
};
// All but moments, by name.
std::vector<StoredWeight> stored_weights(const Manifest& manifest);
// Some of them, whole, on the host.  Error(kData): missing or damaged.  Not collective.
std::vector<Tensor> read_weights(const Manifest& manifest, std::span<const StoredWeight> weights);
inline Tensor read_weight(const Manifest& manifest, const StoredWeight& weight) {
  return read_weights(manifest, {&weight, 1}).front();
}

// "210 weights in nf4, 106,168,320 elements, 4.127 bits each, ...", and a line for each weight with
// its error; "" where nothing is quantised.
std::string quantization_text(const Manifest& manifest);

}  // namespace orthant
