// SPDX-License-Identifier: Apache-2.0
#include "tensor/autograd/ops.h"
#include "tensor/ops/call.h"

namespace orthant {

using ops::view_of;

Var rms_norm(const Var& x, Weight& weight, double eps) {
  const Tensor& xv = x.value();
  check_weight("rms_norm",
               weight.shape().numel() == xv.dim(-1) && weight.dtype() == wide_of(xv.dtype()), xv,
               weight);
  const Tensor y = Tensor::like(xv);
  const Tensor rstd = Tensor::empty({xv.rows()}, weight.dtype(), xv.device());
  {
    const Operand w = weight.elements();
    ops::call(&Backend::rms_norm, "rms_norm", {&xv, &w.view(), &y},
              RmsNormArgs{.x = view_of(xv),
                          .weight = view_of(w.view()),
                          .y = view_of(y),
                          .rstd = view_of(rstd),
                          .eps = eps});
  }
  return record(
      "rms_norm", {x}, y,
      [xv, rstd, &weight](const Tensor& dy) -> Grads {
        // dx and dweight come out of one pass over x and dy, so dweight is not put off.
        const Tensor dx = Tensor::like(xv);
        const Operand w = weight.elements();
        const auto run = [&](const Tensor& dw, bool accumulate) {
          ops::call(&Backend::rms_norm_grad, "rms_norm_grad", {&xv, &dy},
                    RmsNormGradArgs{.x = view_of(xv),
                                    .weight = view_of(w.view()),
                                    .rstd = view_of(rstd),
                                    .dy = view_of(dy),
                                    .dx = view_of(dx),
                                    .dweight = view_of(dw),
                                    .accumulate = accumulate});
        };
        if (weight.trainable()) {
          weight.add_gradient(run);
        } else {
          run(Tensor(), false);
        }
        return {dx};
      },
      weight.trainable());
}

}  // namespace orthant
