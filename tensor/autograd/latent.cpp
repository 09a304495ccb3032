// SPDX-License-Identifier: Apache-2.0
#include "tensor/autograd/ops.h"
#include "tensor/ops/call.h"

namespace orthant {
namespace {

// One part of each head: where it is in the rows of one tensor, and in those of another.
struct Part {
  int64_t width;
  int64_t x_begin, x_step;  // first column of the first head, and from head to head
  int64_t y_begin, y_step;
  Part back() const { return {width, y_begin, y_step, x_begin, x_step}; }
};

void copy_part(const Tensor& x, const Tensor& y, int64_t heads, const Part& part) {
  if (x.numel() == 0 || y.numel() == 0 || part.width == 0) return;
  ops::call(&Backend::copy_heads, "latent_qkv", {&x, &y},
            CopyHeadsArgs{.x = ops::columns_of(x, part.x_begin, x.dim(1)),
                          .y = ops::columns_of(y, part.y_begin, y.dim(1)),
                          .heads = heads,
                          .width = part.width,
                          .x_step = part.x_step,
                          .y_step = part.y_step});
}

// Of rows with keys from column `begin` on, and values behind them.
struct Parts {
  Part key, shared, value;
  Parts(const LatentHeads& h, int64_t begin)
      : key{h.nope_dim, 0, h.kv_dim(), begin, h.qk_dim()},
        shared{h.rope_dim, 0, 0, begin + h.nope_dim, h.qk_dim()},
        value{h.v_dim, h.nope_dim, h.kv_dim(), begin + h.heads * h.qk_dim(), h.v_dim} {}
};

void check(const Tensor& kv, const Tensor& shared, const LatentHeads& h) {
  ORTHANT_OP_CHECK("latent_qkv",
                   kv.rank() == 2 && shared.rank() == 2 && kv.dim(0) == shared.dim(0) &&
                       kv.dim(1) == h.heads * h.kv_dim() && shared.dim(1) == h.rope_dim,
                   kv, shared);
}

void put_keys_values(const Tensor& kv, const Tensor& shared, const LatentHeads& h, const Tensor& y,
                     int64_t begin) {
  const Parts parts(h, begin);
  copy_part(kv, y, h.heads, parts.key);
  copy_part(shared, y, h.heads, parts.shared);
  copy_part(kv, y, h.heads, parts.value);
}

}  // namespace

Var latent_qkv(const Var& q, const Var& kv, const Var& shared, const LatentHeads& h) {
  const Tensor &qv = q.value(), &kvv = kv.value(), &sv = shared.value();
  check(kvv, sv, h);
  const int64_t rows = qv.dim(0), query_end = h.heads * h.qk_dim();
  ORTHANT_OP_CHECK("latent_qkv", qv.dim(1) == query_end && rows == kvv.dim(0), qv, kvv);
  const Tensor y =
      Tensor::empty({rows, 2 * query_end + h.heads * h.v_dim}, qv.dtype(), qv.device());
  const Part query{query_end, 0, query_end, 0, query_end};  // all heads at once
  copy_part(qv, y, 1, query);
  put_keys_values(kvv, sv, h, y, query_end);
  return record("latent_qkv", {q, kv, shared}, y, [=](const Tensor& dy) -> Grads {
    const auto rows_of = [&](int64_t width) {
      return Tensor::empty({rows, width}, dy.dtype(), dy.device());
    };
    const Tensor dq = rows_of(query_end), dkv = rows_of(h.heads * h.kv_dim());
    const Tensor dshared = rows_of(h.rope_dim);
    const Parts parts(h, query_end);
    copy_part(dy, dq, 1, query.back());
    copy_part(dy, dkv, h.heads, parts.key.back());
    copy_part(dy, dkv, h.heads, parts.value.back());
    copy_part(dy, dshared, h.heads, parts.shared.back());
    return {dq, dkv, dshared};
  });
}

Tensor latent_keys_values(const Tensor& kv, const Tensor& shared, const LatentHeads& h) {
  check(kv, shared, h);
  const Tensor y =
      Tensor::empty({kv.dim(0), h.heads * (h.qk_dim() + h.v_dim)}, kv.dtype(), kv.device());
  put_keys_values(kv, shared, h, y, 0);
  return y;
}

}  // namespace orthant
