// SPDX-License-Identifier: Apache-2.0
// The bodies of attention and its gradient, on the host.
#include "tests/tensor/cuda_bodies.h"

namespace orthant::testing {
namespace {

using CudaAttention = CudaBodies;

struct Problem {
  int64_t batch, q_len, kv_stride, q_offset, heads, kv_heads, qk, vd;
  std::vector<int> documents = {};  // lengths; empty: one document
  int64_t window = 0;
};

TEST_P(CudaAttention, Attention) {
  const std::vector<Problem> problems = {{1, 1, 1, 0, 1, 1, 8, 8},
                                         {2, 5, 5, 0, 2, 1, 7, 3},
                                         {1, 70, 70, 0, 6, 2, 40, 24},
                                         {1, 66, 66, 0, 2, 2, 24, 48},
                                         {2, 80, 80, 0, 4, 2, 9, 16, {1, 31, 2, 33, 13}},
                                         {2, 1, 90, 71, 4, 2, 16, 8},
                                         {2, 3, 50, 40, 2, 2, 16, 8},
                                         {1, 5, 5, 0, 1, 1, 8, 8, {}, 1},
                                         {2, 80, 80, 0, 4, 2, 9, 16, {}, 33},
                                         {2, 80, 80, 0, 4, 2, 9, 16, {1, 31, 2, 33, 13}, 20},
                                         {2, 3, 50, 40, 2, 2, 16, 8, {}, 7}};
  for (const Problem& p : problems) {
    const int64_t rows = p.batch * p.q_len, keys = p.batch * p.kv_stride;
    const Array q = Array(model(), rows, p.heads * p.qk, 3).random(1, -1.5, 1.5);
    const Array k = Array(model(), keys, p.kv_heads * p.qk, 1).random(2, -1.5, 1.5);
    const Array v = Array(model(), keys, p.kv_heads * p.vd, 2).random(3, -1.5, 1.5);
    const Array dout = Array(model(), rows, p.heads * p.vd, 5).random(4);
    Array starts(DType::kI32, 1, rows);
    int64_t at = 0;
    for (const int length : p.documents) {
      for (int64_t i = at; i < at + length; ++i)
        for (int64_t b = 0; b < p.batch; ++b)
          starts.set(0, b * p.q_len + i, static_cast<double>(at));
      at += length;
    }
    const auto args_of = [&](const Array& o, const Array& lse, bool wants_lse) {
      return AttentionArgs{q.view(),
                           k.view(),
                           v.view(),
                           o.view(),
                           wants_lse ? lse.view() : View{},
                           p.documents.empty() ? View{} : starts.view1(),
                           p.batch,
                           p.q_len,
                           p.q_len,
                           p.q_offset,
                           p.q_offset + p.q_len,
                           p.kv_stride,
                           0,
                           p.heads,
                           p.kv_heads,
                           p.qk,
                           p.vd,
                           p.window,
                           1 / std::sqrt(static_cast<double>(p.qk)),
                           0};
    };
    for (const bool wants_lse : {true, false})
      compare(
          "attention",
          [&](const Backend& t, const BackendCall* call) {
            Array o(model(), rows, p.heads * p.vd, 2), lse(wide(), rows, p.heads, 1);
            const AttentionArgs args = args_of(o, lse, wants_lse);
            ok(t.attention(call, &args));
            return Arrays{o, lse};
          },
          2);
    if (p.q_offset > 0) continue;
    Array o(model(), rows, p.heads * p.vd, 2), lse(wide(), rows, p.heads, 1);
    const AttentionArgs forward = args_of(o, lse, true);
    ok(cpu_.attention(&call_, &forward));
    compare(
        "attention_grad",
        [&](const Backend& t, const BackendCall* call) {
          Array dq(model(), rows, p.heads * p.qk, 1), dk(model(), keys, p.kv_heads * p.qk, 2);
          Array dv(model(), keys, p.kv_heads * p.vd, 3);
          const AttentionGradArgs args{forward, dout.view(), dq.view(), dk.view(), dv.view(), 0};
          ok(t.attention_grad(call, &args));
          return Arrays{dq, dk, dv};
        },
        4);
  }
}

ORTHANT_INSTANTIATE_BODIES(CudaAttention);

}  // namespace
}  // namespace orthant::testing
