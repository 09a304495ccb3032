// SPDX-License-Identifier: Apache-2.0
// A model becomes one whose linear maps are held in few bits (tensor/ops/quantize.h).
#pragma once

#include <cstdint>
#include <string>

#include "layers/quantization_config.h"

namespace orthant {

struct QuantizeOptions {
  std::string model;    // a run directory or one of its checkpoints, without adapters
  std::string run_dir;  // made; must not hold a checkpoint yet
  QuantizationConfig quantization;
  int64_t shard_bytes = int64_t{4} << 30;
};
struct QuantizeResult {
  int64_t weights = 0, elements = 0;  // that are quantised
  int64_t bits = 0;                   // that these take
  int64_t bytes = 0;                  // of all that was written
  // Relative root mean square error of all of them together, and of the worst one.
  double error = 0, worst_error = 0;
  std::string worst;
};
// Writes a run directory as import does, whose checkpoint says of which model it was made and how
// far each weight is off (trainer/quantized_weights.h).  What is not quantised is kept as it is.
// Each weight is quantised twice, for its error and for its codes: memory is that of the largest
// one in f32.  Error(kConfig): adapters, what is quantised already, patterns that name no module;
// Error(kData): a weight that is no number.  Not collective.
QuantizeResult quantize_model(const QuantizeOptions& options);

}  // namespace orthant
