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
  // Where a model has adapters by name, of rows that all have one of them, -1 for none; they need
  // not be those of the pass.
  Var forward_with(const Var& x, int64_t adapter) const {
    const Var y = adapter_ ? adapter_->forward_with(x, *weight_, adapter) : linear(x, *weight_);
    return bias_ ? add_bias(y, *bias_) : y;
  }
  ParameterUse& weight() const { return *weight_; }
  // The weight is all there is for such rows.
  bool is_plain(int64_t adapter = -1) const { return !adapter_ || !adapter_->is_of(adapter); }

 private:
  ParameterUse* weight_;
  ParameterUse* bias_ = nullptr;
  std::shared_ptr<const ProductAdapter> adapter_;  // may be null
};

}  // namespace orthant
