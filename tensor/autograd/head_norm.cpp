// SPDX-License-Identifier: Apache-2.0
#include "tensor/autograd/ops.h"
#include "tensor/ops/call.h"
#include "tensor/ops/elementwise.h"

namespace orthant {
namespace {

using ops::copy_columns;
using ops::view_of;

// Heads side by side in a row, as rows of their own.
Tensor heads_of(const Tensor& x, const HeadNorm& norm) {
  const int64_t end = norm.begin + norm.heads * norm.width;
  const Tensor heads = Tensor::empty({x.dim(0), end - norm.begin}, x.dtype(), x.device());
  copy_columns(x, ops::columns_of(x, norm.begin, end), view_of(heads));
  return heads.view({x.dim(0) * norm.heads, norm.width});
}
void put_heads(const Tensor& heads, const HeadNorm& norm, const Tensor& y) {
  const int64_t end = norm.begin + norm.heads * norm.width;
  copy_columns(heads, view_of(heads.view({y.dim(0), end - norm.begin})),
               ops::columns_of(y, norm.begin, end));
}
// What no norm takes.
void copy_rest(const Tensor& x, std::span<const HeadNorm> norms, const Tensor& y) {
  int64_t at = 0;
  for (const HeadNorm& norm : norms) {
    copy_columns(x, ops::columns_of(x, at, norm.begin), ops::columns_of(y, at, norm.begin));
    at = norm.begin + norm.heads * norm.width;
  }
  copy_columns(x, ops::columns_of(x, at, x.dim(1)), ops::columns_of(y, at, x.dim(1)));
}

// What backward needs of one norm.
struct Kept {
  HeadNorm norm;
  Tensor x, rstd;
};

Kept forward(const Tensor& x, const HeadNorm& norm, double eps, const Tensor& y) {
  Kept kept{norm, heads_of(x, norm), {}};
  const Tensor normed = Tensor::like(kept.x);
  kept.rstd = Tensor::empty({kept.x.dim(0)}, norm.weight->dtype(), x.device());
  const Operand weight = norm.weight->elements();
  ops::call(&Backend::rms_norm, "norm_heads", {&kept.x, &weight.view()},
            RmsNormArgs{.x = view_of(kept.x),
                        .weight = view_of(weight.view()),
                        .y = view_of(normed),
                        .rstd = view_of(kept.rstd),
                        .eps = eps});
  put_heads(normed, norm, y);
  return kept;
}

void backward(const Tensor& dy, const Kept& kept, const Tensor& dx) {
  const Tensor dheads = heads_of(dy, kept.norm), dnormed = Tensor::like(dheads);
  const Operand weight = kept.norm.weight->elements();
  const auto run = [&](const Tensor& dweight, bool accumulate) {
    ops::call(&Backend::rms_norm_grad, "norm_heads", {&kept.x, &dheads},
              RmsNormGradArgs{.x = view_of(kept.x),
                              .weight = view_of(weight.view()),
                              .rstd = view_of(kept.rstd),
                              .dy = view_of(dheads),
                              .dx = view_of(dnormed),
                              .dweight = view_of(dweight),
                              .accumulate = accumulate});
  };
  if (kept.norm.weight->trainable()) {
    kept.norm.weight->add_gradient(run);
  } else {
    run(Tensor(), false);
  }
  put_heads(dnormed, kept.norm, dx);
}

}  // namespace

Var norm_heads(const Var& x, std::span<const HeadNorm> norms, double eps) {
  const Tensor& xv = x.value();
  const Tensor y = Tensor::like(xv);
  std::vector<Kept> kept;
  bool trains = false;
  int64_t at = 0;
  for (const HeadNorm& norm : norms) {
    ORTHANT_OP_CHECK(
        "norm_heads",
        xv.rank() == 2 && at <= norm.begin && norm.begin + norm.heads * norm.width <= xv.dim(1),
        xv);
    check_weight(
        "norm_heads",
        norm.weight->shape().numel() == norm.width && norm.weight->dtype() == wide_of(xv.dtype()),
        xv, *norm.weight);
    at = norm.begin + norm.heads * norm.width;
    trains = trains || norm.weight->trainable();
    kept.push_back(forward(xv, norm, eps, y));
  }
  copy_rest(xv, norms, y);
  return record(
      "norm_heads", {x}, y,
      [kept, given = std::vector(norms.begin(), norms.end())](const Tensor& dy) -> Grads {
        const Tensor dx = Tensor::like(dy);
        for (const Kept& one : kept) backward(dy, one, dx);
        copy_rest(dy, given, dx);
        return {dx};
      },
      trains);
}

}  // namespace orthant
