// SPDX-License-Identifier: Apache-2.0
// A linear map without bias.
#pragma once

#include "layers/builder.h"

namespace orthant {

// y = x W^T; several logical weights may share one product (q, k and v; gate and up).
class Linear {
 public:
  // W as add_matrix makes it.
  Linear(const LayerBuilder& build, const std::string& storage_name, int64_t in,
         const std::vector<WeightPart>& parts, const MatrixOptions& options);
  Var forward(const Var& x) const { return branches_.add_to(linear(x, *weight_), x); }
  ParameterUse& weight() const { return *weight_; }
  bool is_plain() const { return branches_.empty(); }  // the weight is all there is

 private:
  ParameterUse* weight_;
  Branches branches_;
};

}  // namespace orthant
