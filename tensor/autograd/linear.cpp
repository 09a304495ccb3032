// SPDX-License-Identifier: Apache-2.0
#include "tensor/autograd/ops.h"
#include "tensor/ops/call.h"

namespace orthant {
namespace {

using ops::call;
using ops::view_of;

Tensor as_rows(const Tensor& x) { return x.view({x.rows(), x.dim(-1)}); }

Shape with_last(const Shape& shape, int64_t last) {
  Shape result = shape;
  result[-1] = last;
  return result;
}

void multiply(const Tensor& a, bool trans_a, const Tensor& b, bool trans_b, const Tensor& c,
              bool accumulate, const void* prepared_b) {
  call(&Backend::matmul, "linear", {&a, &b, &c},
       MatmulArgs{.a = view_of(a),
                  .b = view_of(b),
                  .c = view_of(c),
                  .trans_a = trans_a,
                  .trans_b = trans_b,
                  .accumulate = accumulate,
                  .prepared_b = prepared_b});
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

HeadLoss head_loss(const Var& x, Weight& head, const Tensor& labels) {
  // Rows are taken in chunks, so that the logits in the wide type stay in cache; a row's result
  // does not depend on it.
  constexpr int64_t kChunkRows = 256;
  const Tensor xv = as_rows(x.value());
  const int64_t rows = xv.dim(0), vocab = head.value().dim(0);
  ORTHANT_OP_CHECK("head_loss", head.value().rank() == 2 && xv.dim(1) == head.value().dim(1), xv,
                   head.value());
  ORTHANT_OP_CHECK("head_loss", labels.numel() == rows && labels.dtype() == DType::kI32, xv,
                   labels);
  const bool wants_grad = grad_enabled() && (x.needs_grad() || head.trainable());
  const DType wide = wide_of(xv.dtype());
  const Tensor losses = Tensor::empty({rows}, DType::kF64, xv.device());
  const Tensor dlogits =
      wants_grad ? Tensor::empty({rows, vocab}, xv.dtype(), xv.device()) : Tensor();
  const Tensor flat_labels = labels.view({rows});
  {
    const Tensor chunk = Tensor::empty({std::min(rows, kChunkRows), vocab}, wide, xv.device());
    for (int64_t begin = 0; begin < rows; begin += kChunkRows) {
      const int64_t end = std::min(rows, begin + kChunkRows);
      const Tensor logits = chunk.slice(0, end - begin);
      multiply(xv.slice(begin, end), false, head.value(), true, logits, false,
               head.prepared(WeightForm::kForward));
      const Tensor y = losses.slice(begin, end);
      call(&Backend::cross_entropy, "cross_entropy", {&logits, &y},
           CrossEntropyArgs{.logits = view_of(logits),
                            .labels = view_of(flat_labels.slice(begin, end)),
                            .losses = view_of(y),
                            .dlogits = wants_grad ? view_of(dlogits.slice(begin, end)) : View{}});
    }
  }
  double total = 0;
  for (double loss : losses.to_doubles()) total += loss;
  const Tensor sum = Tensor::from({1}, {{total}}, wide, xv.device());
  const bool wants_dx = x.needs_grad();
  Var result = record(
      "head_loss", {x}, sum,
      [xv, &head, dlogits, wants_dx, shape = x.value().shape()](const Tensor& dy) -> Grads {
        const double factor = dy.to_doubles()[0];
        if (factor != 1.0)
          ops::call(&Backend::scale, "scale", {&dlogits},
                    ScaleArgs{view_of(dlogits), view_of(dlogits), factor});
        Tensor dx;
        if (wants_dx) {
          dx = Tensor::empty(shape, xv.dtype(), xv.device());
          multiply(dlogits, false, head.value(), false, as_rows(dx), false,
                   head.prepared(WeightForm::kDataGrad));
        }
        if (head.trainable()) {
          weight_grad([xv, dlogits, &head] {
            head.add_gradient([&](const Tensor& dw, bool accumulate) {
              multiply(dlogits, true, xv, false, dw, accumulate, nullptr);
            });
          });
        }
        return {dx};
      },
      head.trainable());
  return {std::move(result), losses};
}

Tensor head_logits(const Tensor& x, Weight& head) {
  const Tensor rows = as_rows(x);
  ORTHANT_OP_CHECK("head_logits", rows.dim(1) == head.value().dim(1), rows, head.value());
  const Tensor logits =
      Tensor::empty({rows.dim(0), head.value().dim(0)}, wide_of(x.dtype()), x.device());
  multiply(rows, false, head.value(), true, logits, false, head.prepared(WeightForm::kForward));
  return logits;
}

}  // namespace orthant
