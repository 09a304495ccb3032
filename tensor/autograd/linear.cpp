// SPDX-License-Identifier: Apache-2.0
#include "tensor/autograd/ops.h"
#include "tensor/autograd/products.h"
#include "tensor/ops/elementwise.h"

namespace orthant {
namespace {

using ops::view_of;

Shape with_last(const Shape& shape, int64_t last) {
  Shape result = shape;
  result[-1] = last;
  return result;
}

void grouped(ProductForm form, const Tensor& x, const Tensor& w, const Tensor& y,
             const std::vector<int64_t>& offsets, bool accumulate, const void* prepared_w) {
  ops::call(&Backend::grouped_matmul, "grouped_linear", {&x, &w, &y},
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
  check_weight("linear",
               w.shape().rank() == 2 && xv.dim(1) == w.shape()[1] && xv.dtype() == w.dtype(), xv,
               w);
  const Tensor y =
      Tensor::empty(with_last(x.value().shape(), w.shape()[0]), xv.dtype(), xv.device());
  multiply_forward(xv, w.operand(WeightForm::kForward), as_rows(y));
  const bool wants_dx = x.needs_grad();
  // Only the weight's gradient reads x.
  const Tensor kept = w.trainable() ? xv : Tensor();
  return record(
      "linear", {x}, y,
      [kept, &w, wants_dx, shape = x.value().shape()](const Tensor& dy) -> Grads {
        const Tensor dy_rows = as_rows(dy);
        Tensor dx;
        if (wants_dx) {
          dx = Tensor::empty(shape, dy.dtype(), dy.device());
          multiply_back(dy_rows, w.operand(WeightForm::kDataGrad), as_rows(dx));
        }
        if (kept.defined()) {
          weight_grad([kept, dy_rows, &w] {
            w.add_gradient([&](const Tensor& dw, bool accumulate) {
              multiply(dy_rows, true, kept, false, dw, accumulate);
            });
          });
        }
        return {dx};
      },
      w.trainable());
}

namespace {

// The bias in each of so many rows: a view that stands still from row to row.
View repeated(const Tensor& bias, int64_t rows) {
  View view = view_of(bias.view({1, bias.numel()}));
  view.shape[0] = rows;
  view.row_stride = 0;
  return view;
}

}  // namespace

Var add_bias(const Var& x, Weight& b) {
  const Tensor xv = as_rows(x.value());
  check_weight("add_bias", b.shape().numel() == xv.dim(1) && xv.dtype() == b.dtype(), xv, b);
  const Tensor y = Tensor::like(x.value());
  {
    const Operand bias = b.elements();
    ops::call(
        &Backend::add, "add_bias", {&xv, &bias.view()},
        BinaryArgs{
            .a = view_of(xv), .b = repeated(bias.view(), xv.dim(0)), .y = view_of(as_rows(y))});
  }
  return record(
      "add_bias", {x}, y,
      [&b](const Tensor& dy) -> Grads {
        if (b.trainable()) {
          weight_grad([dy, &b] {
            // Sums over rows: a product with ones, which adds them as weight gradients are added.
            const Tensor rows = as_rows(dy);
            const Tensor ones = Tensor::empty({rows.dim(0), 1}, dy.dtype(), dy.device());
            ops::fill(ones, 1.0);
            b.add_gradient([&](const Tensor& db, bool accumulate) {
              multiply(ones, true, rows, false, db.view({1, db.numel()}), accumulate);
            });
          });
        }
        return {dy};
      },
      b.trainable());
}

Var grouped_linear(const Var& x, Weight& w, std::shared_ptr<const std::vector<int64_t>> offsets) {
  const Tensor& xv = x.value();
  check_weight("grouped_linear",
               w.shape().rank() == 3 && xv.rank() == 2 && xv.dim(1) == w.shape()[2] &&
                   xv.dtype() == w.dtype(),
               xv, w);
  const int64_t experts = w.shape()[0], out = w.shape()[1];
  ORTHANT_CHECK(
      static_cast<int64_t>(offsets->size()) == experts + 1 && offsets->back() == xv.dim(0),
      kInternal, "grouped_linear: want offsets of ", experts, " experts over ", xv.dim(0), " rows");
  const Tensor y = Tensor::empty({xv.dim(0), out}, xv.dtype(), xv.device());
  {
    const Operand weight = w.operand(WeightForm::kForward);
    grouped(ProductForm::kForward, xv, weight.view(), y, *offsets, false, weight.prepared());
  }
  const bool wants_dx = x.needs_grad();
  const Tensor kept = w.trainable() ? xv : Tensor();
  return record(
      "grouped_linear", {x}, y,
      [kept, &w, wants_dx, offsets, shape = xv.shape()](const Tensor& dy) -> Grads {
        Tensor dx;
        if (wants_dx) {
          dx = Tensor::empty(shape, dy.dtype(), dy.device());
          const Operand weight = w.operand(WeightForm::kDataGrad);
          grouped(ProductForm::kDataGrad, dy, weight.view(), dx, *offsets, false,
                  weight.prepared());
        }
        if (kept.defined()) {
          weight_grad([kept, dy, &w, offsets] {
            w.add_gradient([&](const Tensor& dw, bool accumulate) {
              grouped(ProductForm::kWeightGrad, kept, dw, dy, *offsets, accumulate, nullptr);
            });
          });
        }
        return {dx};
      },
      w.trainable());
}

}  // namespace orthant
