// SPDX-License-Identifier: Apache-2.0
// A linear map, without bias unless it is asked for.
#pragma once

#include "layers/builder.h"

namespace orthant {

// y = x W^T; several logical weights may share one product (q, k and v; gate and up).
class Linear {
 public:
  // W as add_matrix makes it.
  Linear(const LayerBuilder& build, const std::string& storage_name, int64_t in,
         const std::vector<WeightPart>& parts, const MatrixOptions& options);
  Var forward(const Var& x) const {
    const Var y = adapter_ ? adapter_->forward(x, *weight_) : linear(x, *weight_);
    return bias_ ? add_bias(y, *bias_) : y;
  }
  ParameterUse& weight() const { return *weight_; }
  bool is_plain() const { return !adapter_; }  // the weight is all there is

 private:
  ParameterUse* weight_;
  ParameterUse* bias_ = nullptr;
  std::shared_ptr<const ProductAdapter> adapter_;  // may be null
};

}  // namespace orthant
