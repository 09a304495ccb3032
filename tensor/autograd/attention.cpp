// SPDX-License-Identifier: Apache-2.0
#include "tensor/autograd/ops.h"
#include "tensor/ops/call.h"

namespace orthant {
namespace {

struct Columns {
  int64_t q, k, v;  // end of each
};

Columns columns_in(const AttentionShape& s) {
  const int64_t q = s.heads * s.qk_dim, k = q + s.kv_heads * s.qk_dim;
  return {q, k, k + s.kv_heads * s.v_dim};
}

}  // namespace

Var attention(const Var& qkv, const Tensor& doc_start, const AttentionShape& shape) {
  const Tensor x = qkv.value().view({qkv.value().rows(), qkv.value().dim(-1)});
  const Columns end = columns_in(shape);
  ORTHANT_OP_CHECK(
      "attention",
      x.dim(1) == end.v && x.dim(0) % shape.batch == 0 && shape.heads % shape.kv_heads == 0, x);
  ORTHANT_OP_CHECK("attention", doc_start.numel() == x.dim(0) && doc_start.dtype() == DType::kI32,
                   x, doc_start);
  Shape out_shape = qkv.value().shape();
  out_shape[-1] = shape.heads * shape.v_dim;
  const Tensor o = Tensor::empty(out_shape, x.dtype(), x.device());
  const Tensor lse = Tensor::empty({x.dim(0), shape.heads}, wide_of(x.dtype()), x.device());
  const int64_t length = x.dim(0) / shape.batch;
  const AttentionArgs args{.q = ops::columns_of(x, 0, end.q),
                           .k = ops::columns_of(x, end.q, end.k),
                           .v = ops::columns_of(x, end.k, end.v),
                           .o = ops::columns_of(o, 0, o.dim(-1)),
                           .lse = ops::view_of(lse),
                           .doc_start = ops::view_of(doc_start),
                           .batch = shape.batch,
                           .q_len = length,
                           .kv_stride = length,
                           .q_offset = 0,
                           .heads = shape.heads,
                           .kv_heads = shape.kv_heads,
                           .qk_dim = shape.qk_dim,
                           .v_dim = shape.v_dim,
                           .scale = shape.scale};
  ops::call(&Backend::attention, "attention", {&x, &doc_start}, args);
  return record(
      "attention", {qkv}, o,
      // x, o, lse and doc_start keep alive what the views in args point to.
      [x, o, lse, doc_start, args, end, shape = qkv.value().shape()](const Tensor& dy) -> Grads {
        const Tensor dx = Tensor::empty(shape, x.dtype(), x.device());
        ops::call(&Backend::attention_grad, "attention_grad", {&x, &dy},
                  AttentionGradArgs{.forward = args,
                                    .do_ = ops::columns_of(dy, 0, dy.dim(-1)),
                                    .dq = ops::columns_of(dx, 0, end.q),
                                    .dk = ops::columns_of(dx, end.q, end.k),
                                    .dv = ops::columns_of(dx, end.k, end.v)});
        return {dx};
      });
}

}  // namespace orthant
