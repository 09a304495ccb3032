// SPDX-License-Identifier: Apache-2.0
// In step s a rank works on the keys and values of the rank s places before it, while those of the
// next step are on their way.
//
// (I1) Every rank posts the same messages in the same order, whatever its tokens see.
// (I2) Forward keeps this rank's qkv, o and lse alone; backward sends keys and values round again.
//      o is kept in the model's type: it is what flows on, and delta = do . o belongs to that.
// (I3) Sums over steps are made in the wide type, in the order of the steps.
#include "parallel/context/ring_attention.h"

#include <limits>
#include <optional>

#include "parallel/context/sequence_split.h"
#include "tensor/ops/call.h"
#include "tensor/ops/elementwise.h"

namespace orthant {
namespace {

// Tensors on their way to the next rank, and from the one before.
class Hop {
 public:
  Hop(const Tensor& tensor, const Group& group, Site site) : arriving_(Tensor::like(tensor)) {
    const int size = group.size(), rank = group.rank();
    sent_ = group.send(tensor, (rank + 1) % size, site);
    received_ = group.recv(arriving_, (rank + size - 1) % size, site);
  }
  Tensor finish() {
    sent_.wait();
    received_.wait();
    return arriving_;
  }

 private:
  Tensor arriving_;
  Work sent_, received_;
};

class Ring {
 public:
  Ring(const Tensor& x, const Tensor& doc_start, const AttentionShape& shape, const Group& group,
       Site site)
      : x_(x),
        doc_start_(doc_start),
        shape_(shape),
        group_(group),
        site_(site),
        split_(x.dim(0) / shape.batch * group.size(), group.size()),
        lse_(Tensor::empty({x.dim(0), shape.heads}, wide(), x.device())) {}

  // o in the wide type; fills lse.
  Tensor forward() const {
    const Tensor o = Tensor::zeros({x_.dim(0), shape_.heads * shape_.v_dim}, wide(), x_.device());
    ops::fill(lse_, -std::numeric_limits<double>::infinity());
    for_each_step([&](int owner, const Tensor& kv) {
      for_each_pair(owner, [&](int half, int key_half) {
        AttentionArgs args = args_of(half, owner, key_half, kv);
        args.o = rows_from(o, half, 0, o.dim(1));
        args.accumulate = 1;
        ops::call(&Backend::attention, "ring_attention", {&x_, &kv}, args);
      });
    });
    return o;
  }

  // o [B*T/P, Hq*Kv] in the model's type.
  Tensor backward(const Tensor& o, const Tensor& dy) const {
    const Tensor dq = Tensor::zeros({x_.dim(0), shape_.q_end()}, wide(), x_.device());
    // Gradients of keys and values follow their owners' blocks, a step behind: this rank's part is
    // computed while what the ranks before have added is on its way.
    std::optional<Hop> sums;
    for_each_step([&](int owner, const Tensor& kv) {
      Tensor dkv = Tensor::zeros(kv.shape(), wide(), kv.device());
      for_each_pair(owner, [&](int half, int key_half) {
        AttentionGradArgs args{.forward = args_of(half, owner, key_half, kv), .accumulate = 1};
        args.forward.o = rows_from(o, half, 0, o.dim(1));
        args.do_ = rows_from(dy, half, 0, dy.dim(1));
        args.dq = rows_from(dq, half, 0, dq.dim(1));
        args.dk = rows_from(dkv, key_half, 0, keys_end());
        args.dv = rows_from(dkv, key_half, keys_end(), dkv.dim(1));
        ops::call(&Backend::attention_grad, "ring_attention_grad", {&x_, &kv, &dy}, args);
      });
      if (sums) ops::accumulate(sums->finish(), dkv);
      sums.emplace(dkv, group_, site_);
    });
    const Tensor own = sums->finish();  // the last hop brings them home
    const Tensor dx = Tensor::like(x_);
    copy_columns(dq, 0, dx, 0, shape_.q_end());
    copy_columns(own, 0, dx, shape_.q_end(), own.dim(1));
    return dx;
  }

 private:
  DType wide() const { return wide_of(x_.dtype()); }
  int64_t keys_end() const { return shape_.k_end() - shape_.q_end(); }

  // f(owner, its k and v) for all ranks' blocks, this rank's first.
  template <class F>
  void for_each_step(F f) const {
    const int size = group_.size();
    Tensor kv =
        Tensor::empty({x_.dim(0), shape_.v_end() - shape_.q_end()}, x_.dtype(), x_.device());
    copy_columns(x_, shape_.q_end(), kv, 0, kv.dim(1));
    for (int step = 0; step < size; ++step) {
      std::optional<Hop> next;
      if (step + 1 < size) next.emplace(kv, group_, site_);
      f((group_.rank() + size - step) % size, kv);
      if (next) kv = next->finish();
    }
  }
  // f(half, key_half) for this rank's chunks and the owner's where a token sees another.
  template <class F>
  void for_each_pair(int owner, F f) const {
    for (int half = 0; half < split_.num_halves(); ++half) {
      const int64_t first = split_.chunk_begin(group_.rank(), half);
      for (int key_half = 0; key_half < split_.num_halves(); ++key_half) {
        const int64_t first_key = split_.chunk_begin(owner, key_half);
        const int64_t last_key = first_key + split_.chunk_length() - 1;
        const bool is_later = first_key > first;
        const bool is_behind_window = shape_.window > 0 && last_key <= first - shape_.window;
        if (!is_later && !is_behind_window) f(half, key_half);
        group_.progress();
      }
    }
  }
  AttentionArgs args_of(int half, int owner, int key_half, const Tensor& kv) const {
    AttentionArgs args = shape_.args();
    args.q = rows_from(x_, half, 0, shape_.q_end());
    args.k = rows_from(kv, key_half, 0, keys_end());
    args.v = rows_from(kv, key_half, keys_end(), kv.dim(1));
    args.lse = rows_from(lse_, half, 0, shape_.heads);
    args.doc_start = ops::view_of(doc_start_.slice(first_row(half), doc_start_.dim(0)));
    args.q_len = args.kv_len = split_.chunk_length();
    args.q_stride = args.kv_stride = split_.local_length();
    args.q_offset = split_.chunk_begin(group_.rank(), half);
    args.kv_offset = split_.chunk_begin(owner, key_half);
    return args;
  }
  int64_t first_row(int half) const { return half * split_.chunk_length(); }
  // Columns [begin, end) from the first row of a chunk on.
  View rows_from(const Tensor& t, int half, int64_t begin, int64_t end) const {
    return ops::columns_of(t.slice(first_row(half), t.dim(0)), begin, end);
  }
  static void copy_columns(const Tensor& from, int64_t from_begin, const Tensor& to,
                           int64_t to_begin, int64_t count) {
    ops::call(&Backend::cast, "ring_attention", {&from, &to},
              CastArgs{.x = ops::columns_of(from, from_begin, from_begin + count),
                       .y = ops::columns_of(to, to_begin, to_begin + count)});
  }

  Tensor x_, doc_start_;
  AttentionShape shape_;
  Group group_;
  Site site_;
  SequenceSplit split_;
  Tensor lse_;
};

}  // namespace

Var ring_attention(const Var& qkv, const Tensor& doc_start, const AttentionShape& shape,
                   const Group& group, Site site) {
  if (group.size() == 1) return attention(qkv, doc_start, shape);
  const Tensor x = qkv.value().view({qkv.value().rows(), qkv.value().dim(-1)});
  ORTHANT_OP_CHECK("ring_attention",
                   x.dim(1) == shape.v_end() && shape.heads % shape.kv_heads == 0 &&
                       x.dim(0) % (2 * shape.batch) == 0,
                   x);
  ORTHANT_OP_CHECK("ring_attention",
                   doc_start.numel() == x.dim(0) && doc_start.dtype() == DType::kI32, x, doc_start);
  const Ring ring(x, doc_start.view({x.dim(0)}), shape, group, site);
  Shape out_shape = qkv.value().shape();
  out_shape[-1] = shape.heads * shape.v_dim;
  const Tensor o = ring.forward().to(x.dtype());
  return record("ring_attention", {qkv}, o.view(out_shape),
                [ring, o, dx_shape = qkv.value().shape()](const Tensor& dy) -> Grads {
                  return {ring.backward(o, dy.view(o.shape())).view(dx_shape)};
                });
}

}  // namespace orthant
