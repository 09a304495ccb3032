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

// Sequences of so many rows behind `position` others, in pages of a pool that lie in no order.
struct PagedProblem {
  std::vector<std::pair<int64_t, int64_t>> sequences;  // rows, position of the first
  int64_t v_dim = 12, window = 0;
  bool transposed = true;
};

constexpr int64_t kPage = 64, kHeads = 4, kKvHeads = 2, kKeyDim = 7;

class Pool {
 public:
  Pool(DType dtype, const PagedProblem& p) : p_(p) {
    for (const auto& [rows, position] : p.sequences) {
      const int64_t first = first_key(position), last = position + rows;
      for (const int64_t value : {rows_, rows, position, first, std::ssize(pages_)})
        table_.push_back(value);
      rows_ += rows;
      for (int64_t at = first; at < last; at += kPage) pages_.push_back(0);
    }
    const int64_t count = std::ssize(pages_), width = kKvHeads * (kKeyDim + p.v_dim);
    elems = Array(dtype, count, kPage * width).random(11, -1.5, 1.5);
    for (int64_t i = 0; i < count; ++i)
      pages_[static_cast<size_t>(i)] =
          (i * 11 + 3) % count * kPage * width * size_of(dtype);  // count is no multiple of 11
    sequences = integers(table_, 5);
    pages = integers(pages_, 1);
  }

  int64_t rows() const { return rows_; }
  int64_t first_key(int64_t position) const {
    return p_.window == 0 ? 0 : std::max<int64_t>(0, position - p_.window + 1) / kPage * kPage;
  }
  int64_t page_elems() const { return elems.cols(); }
  // Element i of a head's key or value at a position of a sequence.
  double key(size_t sequence, int64_t position, int64_t head, int64_t i) const {
    const int64_t row = position % kPage, at = p_.transposed ? i * kPage + row : row * kKeyDim + i;
    return elems.get(page_of(sequence, position), head * kPage * kKeyDim + at);
  }
  double value(size_t sequence, int64_t position, int64_t head, int64_t i) const {
    const int64_t begin = kKvHeads * kPage * kKeyDim + head * kPage * p_.v_dim;
    return elems.get(page_of(sequence, position), begin + position % kPage * p_.v_dim + i);
  }
  PagedAttentionArgs args(const Array& q, const Array& o) const {
    View k = elems.columns(0, kKeyDim), v = elems.columns(kKvHeads * kPage * kKeyDim, p_.v_dim);
    k.shape[0] = p_.transposed ? kKeyDim : kPage;
    k.shape[1] = k.row_stride = p_.transposed ? kPage : kKeyDim;
    v.shape[0] = kPage, v.row_stride = p_.v_dim;
    return {.q = q.view(),
            .k = k,
            .v = v,
            .o = o.view(),
            .sequences = sequences.view(),
            .pages = pages.view1(),
            .page_rows = kPage,
            .k_step = kPage * kKeyDim,
            .v_step = kPage * p_.v_dim,
            .heads = kHeads,
            .kv_heads = kKvHeads,
            .qk_dim = kKeyDim,
            .v_dim = p_.v_dim,
            .window = p_.window,
            .scale = 0.4,
            .k_transposed = p_.transposed};
  }

 private:
  static Array integers(const std::vector<int64_t>& values, int64_t columns) {
    Array array(DType::kI64, std::ssize(values) / columns, columns);
    for (int64_t i = 0; i < std::ssize(values); ++i)
      array.set(i / columns, i % columns, static_cast<double>(values[static_cast<size_t>(i)]));
    return array;
  }
  int64_t page_of(size_t sequence, int64_t position) const {
    const int64_t* row = table_.data() + sequence * 5;
    const auto index = static_cast<size_t>(row[4] + (position - row[3]) / kPage);
    return pages_[index] / (page_elems() * size_of(elems.dtype()));
  }

  PagedProblem p_;
  int64_t rows_ = 0;
  std::vector<int64_t> table_, pages_;
  Array elems, sequences, pages;
};

// The same keys side by side, through attention: what pages must give, on the CPU to the bit.
Array attended(const Backend& cpu, const BackendCall* call, const PagedProblem& p, const Pool& pool,
               const Array& q, DType dtype) {
  Array o(dtype, pool.rows(), kHeads * p.v_dim);
  for (size_t s = 0, row = 0; s < p.sequences.size(); ++s) {
    const auto [rows, position] = p.sequences[s];
    const int64_t first = pool.first_key(position), keys = position + rows - first;
    Array k(dtype, keys, kKvHeads * kKeyDim), v(dtype, keys, kKvHeads * p.v_dim);
    for (int64_t j = 0; j < keys; ++j)
      for (int64_t h = 0; h < kKvHeads; ++h) {
        for (int64_t i = 0; i < kKeyDim; ++i)
          k.set(j, h * kKeyDim + i, pool.key(s, first + j, h, i));
        for (int64_t i = 0; i < p.v_dim; ++i)
          v.set(j, h * p.v_dim + i, pool.value(s, first + j, h, i));
      }
    AttentionArgs args{.q = q.view(), .k = k.view(), .v = v.view(), .o = o.view()};
    const auto offset = static_cast<int64_t>(row) * size_of(dtype);
    args.q.data = static_cast<char*>(args.q.data) + offset * q.cols();
    args.o.data = static_cast<char*>(args.o.data) + offset * o.cols();
    args.batch = 1, args.q_len = args.q_stride = rows, args.q_offset = position;
    args.kv_len = args.kv_stride = keys, args.kv_offset = first;
    args.heads = kHeads, args.kv_heads = kKvHeads, args.qk_dim = kKeyDim, args.v_dim = p.v_dim;
    args.window = p.window, args.scale = 0.4;
    EXPECT_EQ(cpu.attention(call, &args), 0);
    row += static_cast<size_t>(rows);
  }
  return o;
}

TEST_P(CudaAttention, PagesGiveWhatRowsSideBySideGive) {
  for (const bool transposed : {true, false}) {
    for (const PagedProblem& p : std::vector<PagedProblem>{
             {.sequences = {{1, 0}, {70, 0}}},
             {.sequences = {{1, 63}, {1, 64}, {3, 200}, {66, 20}}},
             {.sequences = {{1, 130}, {1, 7}, {1, 191}}, .v_dim = 16},
             {.sequences = {{1, 63}, {2, 300}, {1, 129}}, .v_dim = 32, .window = 60}}) {
      PagedProblem problem = p;
      problem.transposed = transposed;
      const Pool pool(model(), problem);
      const Array q = Array(model(), pool.rows(), kHeads * kKeyDim).random(1, -1.5, 1.5);
      const auto run = [&](const Backend& t, const BackendCall* call) {
        Array o(model(), pool.rows(), kHeads * p.v_dim);
        const PagedAttentionArgs args = pool.args(q, o);
        ok(t.paged_attention(call, &args));
        return Arrays{o};
      };
      EXPECT_TRUE(run(cpu_, &call_)[0].bytes() ==
                  attended(cpu_, &call_, problem, pool, q, model()).bytes());
      compare("paged_attention", run, 2);
    }
  }
}

ORTHANT_INSTANTIATE_BODIES(CudaAttention);

}  // namespace
}  // namespace orthant::testing
