// SPDX-License-Identifier: Apache-2.0
#include "tensor/autograd/low_rank.h"

#include "base/error.h"
#include "tensor/autograd/products.h"
#include "tensor/ops/elementwise.h"

namespace orthant {
namespace {

using ops::view_of;

// Products with one weight [out, in], or of each group's rows with its own [E, out, in].
class Product {
 public:
  explicit Product(RowOffsets offsets) : offsets_(std::move(offsets)) {}

  // y = x w^T, or y += x w^T.
  void forward(const View& x, const Operand& w, const View& y, bool accumulate) const {
    run(ProductForm::kForward, x, w.view(), y, accumulate, w.prepared());
  }
  // dx = dy w, or dx += dy w.
  void back(const View& dy, const Operand& w, const View& dx, bool accumulate) const {
    run(ProductForm::kDataGrad, dy, w.view(), dx, accumulate, w.prepared());
  }
  // dw = dy^T x, or dw += dy^T x.
  void weight_grad(const View& dy, const View& x, const Tensor& dw, bool accumulate) const {
    run(ProductForm::kWeightGrad, x, dw, dy, accumulate, nullptr);
  }

 private:
  void run(ProductForm form, const View& x, const Tensor& w, const View& y, bool accumulate,
           const void* prepared) const {
    if (offsets_) {
      ops::call(&Backend::grouped_matmul, "adapted_linear", {&w},
                GroupedMatmulArgs{.form = form,
                                  .x = x,
                                  .w = view_of(w),
                                  .y = y,
                                  .offsets = offsets_->data(),
                                  .prepared_w = prepared,
                                  .accumulate = accumulate});
      return;
    }
    MatmulArgs args{
        .a = x, .b = view_of(w), .c = y, .accumulate = accumulate, .prepared_b = prepared};
    args.trans_b = form == ProductForm::kForward;
    if (form == ProductForm::kWeightGrad)
      args = {.a = y, .b = x, .c = view_of(w), .trans_a = true, .accumulate = accumulate};
    ops::call(&Backend::matmul, "adapted_linear", {&w}, args);
  }

  RowOffsets offsets_;
};

// A part of `low`, and where it stands: its columns of x a^T, and of the product's result.
struct Part {
  Weight* b;
  double scale;
  RowSet rows;
  int64_t rank_begin, rank_end, begin, end;

  View low(const Tensor& h) const { return ops::columns_of(h, rank_begin, rank_end); }
  View wide(const Tensor& y) const { return ops::columns_of(y, begin, end); }
};

std::vector<Part> parts_of(const LowRank& low) {
  std::vector<Part> parts;
  int64_t rank = 0;
  for (const LowRankPart& part : low.parts) {
    const Shape shape = part.b->shape();
    parts.push_back({.b = part.b,
                     .scale = part.scale,
                     .rows = part.rows,
                     .rank_begin = rank,
                     .rank_end = rank + shape[-1],
                     .begin = part.begin,
                     .end = part.begin + shape[-2]});
    rank = parts.back().rank_end;
  }
  return parts;
}

void scale_parts(const Tensor& h, const std::vector<Part>& parts) {
  if (h.numel() == 0) return;
  for (const Part& part : parts) {
    const View view = part.low(h);
    if (part.scale == 1.0) continue;
    ops::call(&Backend::scale, "adapted_linear", {&h},
              ScaleArgs{.x = view, .y = view, .factor = part.scale});
  }
}

// Zeros in the columns of a part for the rows that are none of its own.
void clear_other_rows(const Tensor& h, const std::vector<Part>& parts) {
  for (const Part& part : parts) {
    if (part.rows.all || h.numel() == 0) continue;
    const Tensor own =
        Tensor::zeros({h.dim(0), part.rank_end - part.rank_begin}, h.dtype(), h.device());
    if (!part.rows.is_none())
      ops::call(
          &Backend::gather_rows, "adapted_linear", {&h, &part.rows.rows, &own},
          GatherRowsArgs{.x = part.low(h), .index = view_of(part.rows.rows), .y = view_of(own)});
    ops::copy_columns(own, view_of(own), part.low(h));
  }
}

// As rows also where there are no columns, which is a share that a rank may have.
Tensor matrix(const Tensor& x) {
  int64_t rows = 1;
  for (int d = 0; d + 1 < x.rank(); ++d) rows *= x.dim(d);
  return x.view({rows, x.dim(-1)});
}

void check(const Tensor& x, const Tensor& low_x, Weight& w, const LowRank& low,
           const std::vector<Part>& parts, const RowOffsets& offsets) {
  const int rank = offsets ? 3 : 2;
  check_weight("adapted_linear",
               w.shape().rank() == rank && x.dim(1) == w.shape()[-1] && x.dtype() == w.dtype(), x,
               w);
  check_weight("adapted_linear",
               low.a->shape().rank() == rank && low_x.shape() == x.shape() &&
                   low_x.dim(1) == low.a->shape()[-1] && low_x.dtype() == low.a->dtype() &&
                   !parts.empty() && parts.back().rank_end == low.a->shape()[-2],
               low_x, *low.a);
  for (const Part& part : parts)
    check_weight("adapted_linear",
                 (!part.rows.rows.defined() || part.rows.rows.numel() == x.dim(0)) &&
                     part.b->shape().rank() == rank && part.b->dtype() == x.dtype() &&
                     part.end <= w.shape()[-2],
                 x, *part.b);
  if (!offsets) return;
  ORTHANT_CHECK(std::ssize(*offsets) == w.shape()[0] + 1 && offsets->back() == x.dim(0) &&
                    low.a->shape()[0] == w.shape()[0],
                kInternal, "adapted_linear: want offsets of ", w.shape()[0], " groups over ",
                x.dim(0), " rows");
}

}  // namespace

Var adapted_linear(const Var& x, Weight& w, const LowRank& low, const RowOffsets& offsets,
                   const Var& given_low_x) {
  const bool own_input = given_low_x.defined();
  const Var& low_x = own_input ? given_low_x : x;
  const Tensor xv = matrix(x.value()), low_xv = matrix(low_x.value());
  const std::vector<Part> parts = parts_of(low);
  check(xv, low_xv, w, low, parts, offsets);
  const Product product(offsets);
  Shape shape = x.value().shape();
  shape[-1] = w.shape()[-2];
  const Tensor y = Tensor::empty(shape, xv.dtype(), xv.device());
  const Tensor y_rows = matrix(y);
  product.forward(view_of(xv), w.operand(WeightForm::kForward), view_of(y_rows), false);
  const Tensor h = Tensor::empty({xv.dim(0), parts.back().rank_end}, xv.dtype(), xv.device());
  product.forward(view_of(low_xv), low.a->operand(WeightForm::kForward), view_of(h), false);
  scale_parts(h, parts);
  clear_other_rows(h, parts);
  bool parts_train = false;
  for (const Part& part : parts) {
    parts_train = parts_train || part.b->trainable();
    if (part.rows.is_none()) continue;
    product.forward(part.low(h), part.b->operand(WeightForm::kForward), part.wide(y_rows), true);
  }
  Weight& a = *low.a;
  const bool wants_dx = x.needs_grad(), wants_low_dx = low_x.needs_grad();
  // Only gradients of weights read these.
  const Tensor kept_x = w.trainable() ? xv : Tensor();
  const Tensor kept_low_x = a.trainable() ? low_xv : Tensor();
  const Tensor kept_h = parts_train ? h : Tensor();
  auto back = [=, &w, &a, shape = x.value().shape()](const Tensor& dy_given) -> Grads {
    const Tensor dy = matrix(dy_given);
    const auto like = [&](const Shape& s) { return Tensor::empty(s, dy.dtype(), dy.device()); };
    const Tensor dh = like({dy.dim(0), parts.back().rank_end});
    for (const Part& part : parts) {
      product.back(part.wide(dy), part.b->operand(WeightForm::kDataGrad), part.low(dh), false);
      if (!part.b->trainable()) continue;
      weight_grad([=] {
        part.b->add_gradient([&](const Tensor& db, bool accumulate) {
          product.weight_grad(part.wide(dy), part.low(kept_h), db, accumulate);
        });
      });
    }
    scale_parts(dh, parts);
    clear_other_rows(dh, parts);
    if (kept_low_x.defined()) {
      weight_grad([=, &a] {
        a.add_gradient([&](const Tensor& da, bool accumulate) {
          product.weight_grad(view_of(dh), view_of(kept_low_x), da, accumulate);
        });
      });
    }
    if (kept_x.defined()) {
      weight_grad([=, &w] {
        w.add_gradient([&](const Tensor& dw, bool accumulate) {
          product.weight_grad(view_of(dy), view_of(kept_x), dw, accumulate);
        });
      });
    }
    Tensor dx, low_dx;
    if (wants_dx) {
      dx = like(shape);
      product.back(view_of(dy), w.operand(WeightForm::kDataGrad), view_of(matrix(dx)), false);
    }
    if (wants_low_dx) {
      low_dx = own_input ? like(shape) : dx;
      product.back(view_of(dh), a.operand(WeightForm::kDataGrad), view_of(matrix(low_dx)),
                   !own_input);
    }
    return own_input ? Grads{dx, low_dx} : Grads{dx};
  };
  std::vector<Var> inputs = {x};
  if (own_input) inputs.push_back(low_x);
  return record("adapted_linear", std::move(inputs), y, std::move(back),
                w.trainable() || a.trainable() || parts_train);
}

}  // namespace orthant
