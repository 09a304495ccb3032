// SPDX-License-Identifier: Apache-2.0
#include "tensor/autograd/ops.h"
#include "tensor/autograd/products.h"

namespace orthant {
namespace {

using ops::call;
using ops::view_of;

Shape with_last(const Shape& shape, int64_t last) {
  Shape result = shape;
  result[-1] = last;
  return result;
}

void grouped(ProductForm form, const Tensor& x, const Tensor& w, const Tensor& y,
             const std::vector<int64_t>& offsets, bool accumulate, const void* prepared_w) {
  call(&Backend::grouped_matmul, "grouped_linear", {&x, &w, &y},
       GroupedMatmulArgs{.form = form,
                         .x = view_of(x),
                         .w = view_of(w),
                         .y = view_of(y),
                         .offsets = offsets.data(),
                         .prepared_w = prepared_w,
                         .accumulate = accumulate});
}

}  // namespace

Var linear(const Var& x, Weight& w) {
  const Tensor xv = as_rows(x.value());
  ORTHANT_OP_CHECK("linear", w.value().rank() == 2 && xv.dim(1) == w.value().dim(1), xv, w.value());
  ORTHANT_OP_CHECK("linear", xv.dtype() == w.value().dtype(), xv, w.value());
  ops::check_same_device("linear", {&xv, &w.value()});
  const int64_t out = w.value().dim(0);
  const Tensor y = Tensor::empty(with_last(x.value().shape(), out), xv.dtype(), xv.device());
  multiply(xv, false, w.value(), true, as_rows(y), false, w.prepared(WeightForm::kForward));
  const bool wants_dx = x.needs_grad();
  return record(
      "linear", {x}, y,
      [xv, &w, wants_dx, shape = x.value().shape()](const Tensor& dy) -> Grads {
        const Tensor dy_rows = as_rows(dy);
        Tensor dx;
        if (wants_dx) {
          dx = Tensor::empty(shape, xv.dtype(), xv.device());
          multiply(dy_rows, false, w.value(), false, as_rows(dx), false,
                   w.prepared(WeightForm::kDataGrad));
        }
        if (w.trainable()) {
          weight_grad([xv, dy_rows, &w] {
            w.add_gradient([&](const Tensor& dw, bool accumulate) {
              multiply(dy_rows, true, xv, false, dw, accumulate, nullptr);
            });
          });
        }
        return {dx};
      },
      w.trainable());
}

Var grouped_linear(const Var& x, Weight& w, std::shared_ptr<const std::vector<int64_t>> offsets) {
  const Tensor& xv = x.value();
  ORTHANT_OP_CHECK("grouped_linear",
                   w.value().rank() == 3 && xv.rank() == 2 && xv.dim(1) == w.value().dim(2), xv,
                   w.value());
  ORTHANT_OP_CHECK("grouped_linear", xv.dtype() == w.value().dtype(), xv, w.value());
  const int64_t experts = w.value().dim(0), out = w.value().dim(1);
  ORTHANT_CHECK(
      static_cast<int64_t>(offsets->size()) == experts + 1 && offsets->back() == xv.dim(0),
      kInternal, "grouped_linear: want offsets of ", experts, " experts over ", xv.dim(0), " rows");
  const Tensor y = Tensor::empty({xv.dim(0), out}, xv.dtype(), xv.device());
  grouped(ProductForm::kForward, xv, w.value(), y, *offsets, false,
          w.prepared(WeightForm::kForward));
  const bool wants_dx = x.needs_grad();
  return record(
      "grouped_linear", {x}, y,
      [xv, &w, wants_dx, offsets](const Tensor& dy) -> Grads {
        Tensor dx;
        if (wants_dx) {
          dx = Tensor::like(xv);
          grouped(ProductForm::kDataGrad, dy, w.value(), dx, *offsets, false,
                  w.prepared(WeightForm::kDataGrad));
        }
        if (w.trainable()) {
          weight_grad([xv, dy, &w, offsets] {
            w.add_gradient([&](const Tensor& dw, bool accumulate) {
              grouped(ProductForm::kWeightGrad, xv, dw, dy, *offsets, accumulate, nullptr);
            });
          });
        }
        return {dx};
      },
      w.trainable());
}

}  // namespace orthant
