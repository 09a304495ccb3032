// SPDX-License-Identifier: Apache-2.0
#include "tensor/autograd/ops.h"
#include "tensor/ops/call.h"

namespace orthant {

AttentionArgs AttentionShape::args() const {
  return {.batch = batch,
          .heads = heads,
          .kv_heads = kv_heads,
          .qk_dim = qk_dim,
          .v_dim = v_dim,
          .window = window,
          .scale = scale};
}

Var attention(const Var& qkv, const Tensor& doc_start, const AttentionShape& shape) {
  const Tensor x = qkv.value().view({qkv.value().rows(), qkv.value().dim(-1)});
  ORTHANT_OP_CHECK(
      "attention",
      x.dim(1) == shape.v_end() && x.dim(0) % shape.batch == 0 && shape.heads % shape.kv_heads == 0,
      x);
  ORTHANT_OP_CHECK("attention", doc_start.numel() == x.dim(0) && doc_start.dtype() == DType::kI32,
                   x, doc_start);
  Shape out_shape = qkv.value().shape();
  out_shape[-1] = shape.heads * shape.v_dim;
  const Tensor o = Tensor::empty(out_shape, x.dtype(), x.device());
  const Tensor lse = Tensor::empty({x.dim(0), shape.heads}, wide_of(x.dtype()), x.device());
  AttentionArgs args = shape.args();
  args.q = ops::columns_of(x, 0, shape.q_end());
  args.k = ops::columns_of(x, shape.q_end(), shape.k_end());
  args.v = ops::columns_of(x, shape.k_end(), shape.v_end());
  args.o = ops::columns_of(o, 0, o.dim(-1));
  args.lse = ops::view_of(lse);
  args.doc_start = ops::view_of(doc_start);
  args.q_len = args.q_stride = args.kv_len = args.kv_stride = x.dim(0) / shape.batch;
  ops::call(&Backend::attention, "attention", {&x, &doc_start}, args);
  return record("attention", {qkv}, o,
                // x, o, lse and doc_start keep alive what the views in args point to.
                [x, o, lse, doc_start, args, shape,
                 dx_shape = qkv.value().shape()](const Tensor& dy) -> Grads {
                  const Tensor dx = Tensor::empty(dx_shape, x.dtype(), x.device());
                  ops::call(
                      &Backend::attention_grad, "attention_grad", {&x, &dy},
                      AttentionGradArgs{.forward = args,
                                        .do_ = ops::columns_of(dy, 0, dy.dim(-1)),
                                        .dq = ops::columns_of(dx, 0, shape.q_end()),
                                        .dk = ops::columns_of(dx, shape.q_end(), shape.k_end()),
                                        .dv = ops::columns_of(dx, shape.k_end(), shape.v_end())});
                  return {dx};
                });
}

}  // namespace orthant
