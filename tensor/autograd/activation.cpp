// SPDX-License-Identifier: Apache-2.0
#include "tensor/autograd/ops.h"
#include "tensor/ops/call.h"

namespace orthant {

using ops::view_of;

Var swiglu(const Var& gate_up) {
  const Tensor& x = gate_up.value();
  ORTHANT_OP_CHECK("swiglu", x.rank() >= 1 && x.dim(-1) % 2 == 0, x);
  Shape shape = x.shape();
  shape[-1] /= 2;
  const Tensor y = Tensor::empty(shape, x.dtype(), x.device());
  ops::call(&Backend::swiglu, "swiglu", {&x, &y}, SwigluArgs{.x = view_of(x), .y = view_of(y)});
  return record("swiglu", {gate_up}, y, [x](const Tensor& dy) -> Grads {
    const Tensor dx = Tensor::like(x);
    ops::call(&Backend::swiglu_grad, "swiglu_grad", {&x, &dy},
              SwigluGradArgs{.x = view_of(x), .dy = view_of(dy), .dx = view_of(dx)});
    return {dx};
  });
}

Var softmax(const Var& x) {
  const Tensor y = Tensor::like(x.value());
  ops::call(&Backend::softmax, "softmax", {&x.value(), &y},
            SoftmaxArgs{.x = view_of(x.value()), .y = view_of(y)});
  return record("softmax", {x}, y, [y](const Tensor& dy) -> Grads {
    const Tensor dx = Tensor::like(y);
    ops::call(&Backend::softmax_grad, "softmax_grad", {&y, &dy},
              SoftmaxGradArgs{.y = view_of(y), .dy = view_of(dy), .dx = view_of(dx)});
    return {dx};
  });
}

}  // namespace orthant
