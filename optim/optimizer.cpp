// SPDX-License-Identifier: Apache-2.0
#include "optim/optimizer.h"

#include <cmath>

#include "base/context.h"
#include "tensor/ops/call.h"

namespace orthant {

OptimizerSpan make_span(const OptimizerConfig& config, const Tensor& value, bool decays) {
  const CategoryScope category(MemoryCategory::kOptimizer);
  const DType wide = wide_of(value.dtype());
  OptimizerSpan span{.value = value, .master = value.to(wide), .decays = decays};
  if (config.kind == OptimizerKind::kAdamW) {
    span.m = Tensor::zeros(value.shape(), wide, value.device());
    span.v = Tensor::zeros(value.shape(), wide, value.device());
  }
  return span;
}

void optimizer_step(const OptimizerConfig& config, const OptimizerSpan& span, const Tensor& grad,
                    double learning_rate, double grad_scale, int64_t step) {
  const double decay = span.decays ? config.weight_decay : 0.0;
  const auto flat = [](const Tensor& t) { return ops::view_of(t.view({t.numel()})); };
  if (config.kind == OptimizerKind::kSgd) {
    ops::call(&Backend::sgd, "sgd", {&span.value, &grad},
              SgdArgs{.param = flat(span.value),
                      .master = flat(span.master),
                      .grad = flat(grad),
                      .learning_rate = learning_rate,
                      .weight_decay = decay,
                      .grad_scale = grad_scale});
    return;
  }
  const double t = static_cast<double>(step);
  ops::call(&Backend::adamw, "adamw", {&span.value, &grad},
            AdamwArgs{.param = flat(span.value),
                      .master = flat(span.master),
                      .m = flat(span.m),
                      .v = flat(span.v),
                      .grad = flat(grad),
                      .learning_rate = learning_rate,
                      .beta1 = config.betas[0],
                      .beta2 = config.betas[1],
                      .eps = config.eps,
                      .weight_decay = decay,
                      .bias1 = 1.0 - std::pow(config.betas[0], t),
                      .bias2 = 1.0 - std::pow(config.betas[1], t),
                      .grad_scale = grad_scale});
}

}  // namespace orthant
