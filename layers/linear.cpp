// SPDX-License-Identifier: Apache-2.0
#include "layers/linear.h"

namespace orthant {

Linear::Linear(const LayerBuilder& build, const std::string& storage_name, int64_t in,
               const std::vector<WeightPart>& parts, const MatrixOptions& options)
    : weight_(&add_matrix(build, storage_name, in, parts, options)) {
  if (options.has_bias) bias_ = &add_vector(build, storage_name + ".bias", parts, options);
  int64_t begin = 0;
  for (const LogicalTensor& part : weight_->parameter().table()) {
    branches_.ask_for(build, weight_->parameter(), {&part, 1}, begin);
    begin += part.shape[0];
  }
}

}  // namespace orthant
