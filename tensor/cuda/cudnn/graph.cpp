// SPDX-License-Identifier: Apache-2.0
#include "tensor/cuda/cudnn/graph.h"

namespace orthant::cuda::cudnn {
namespace {

Dims packed(const Dims& dims) {
  return {dims[1] * dims[2] * dims[3], dims[2] * dims[3], dims[3], 1};
}

// Collects tensors and nodes; functions give the index of the tensor that they made.
class Sketch {
 public:
  explicit Sketch(const AttentionProblem& problem) : p_(problem) {}

  int tensor(Place place, Element element, const Dims& dims, const Dims& strides) {
    graph_.tensors.push_back({place, element, dims, strides});
    return static_cast<int>(graph_.tensors.size()) - 1;
  }
  int inside(Element element, const Dims& dims) {
    return tensor(Place::kInside, element, dims, packed(dims));
  }
  int number(Place place) { return tensor(place, Element::kF32, {1, 1, 1, 1}, {1, 1, 1, 1}); }
  // Heads of `width` elements that lie side by side in rows `stride` apart.
  int heads(Place place, int64_t count, int64_t width, int64_t stride) {
    return tensor(place, Element::kBF16, {p_.batch, count, p_.length, width},
                  {p_.length * stride, width, stride, 1});
  }
  int transposed_heads(Place place, int64_t count, int64_t width, int64_t stride) {
    return tensor(place, Element::kBF16, {p_.batch, count, width, p_.length},
                  {p_.length * stride, width, 1, stride});
  }
  int lse() {
    return tensor(Place::kLse, Element::kF32, row_dims(),
                  {p_.length * p_.lse_stride, 1, p_.lse_stride, 1});
  }
  Dims row_dims() const { return {p_.batch, p_.heads, p_.length, 1}; }
  Dims score_dims() const { return {p_.batch, p_.heads, p_.length, p_.length}; }

  int into(int y, Op op, int x, int b = -1, int mask = -1, int axis = -1) {
    graph_.nodes.push_back({op, x, b, mask, y, axis});
    return y;
  }
  // y has the dims of x.
  int apply(Op op, int x, int b = -1, Element element = Element::kF32) {
    return into(inside(element, dims_of(x)), op, x, b);
  }
  int matmul(int x, int b) {
    const Dims &dx = dims_of(x), &db = dims_of(b);
    return into(inside(Element::kF32, {dx[0], dx[1], dx[2], db[3]}), Op::kMatmul, x, b);
  }
  int reduce(Op op, int x) { return into(inside(Element::kF32, row_dims()), op, x); }
  // A score matrix with rows and columns changed, as bf16.
  int transposed(int x) {
    const Dims& d = dims_of(x);
    const int y =
        tensor(Place::kInside, Element::kBF16, d, {d[1] * d[2] * d[3], d[2] * d[3], 1, d[2]});
    return into(y, Op::kReshape, x);
  }
  // x where `at_least` >= `bound`, else masked.
  int keep(int x, int at_least, int bound) {
    const int masked = number(Place::kMasked);
    const int mask = into(inside(Element::kBool, dims_of(x)), Op::kGreaterEqual, at_least, bound);
    return into(inside(Element::kF32, dims_of(x)), Op::kSelect, x, masked, mask);
  }
  int index(int x, int axis) {
    return into(inside(Element::kI32, dims_of(x)), Op::kIndex, x, -1, -1, axis);
  }
  // Query i sees the keys from the first of its document to i.
  int visible(int scores) {
    const int row = index(scores, 2), col = index(scores, 3);
    scores = keep(scores, row, col);
    if (!p_.has_documents) return scores;
    const int first = tensor(Place::kDocStart, Element::kI32, {p_.batch, 1, p_.length, 1},
                             {p_.length, p_.length, 1, 1});
    return keep(scores, index(scores, 3), first);
  }
  // y = x b; with grouped queries b's and y's heads are fewer than x's, and y adds them up.
  void matmul_over_group(int x, int b, int y) {
    if (p_.group() == 1) {
      into(y, Op::kMatmul, x, b);
      return;
    }
    const Dims& d = dims_of(y);
    const int of_heads = inside(Element::kBF16, {d[0], p_.heads, d[2], d[3]});
    into(of_heads, Op::kMatmul, x, b);
    into(y, Op::kReduceSum, of_heads);
  }
  Graph take() { return std::move(graph_); }

 private:
  Dims dims_of(int tensor) const { return graph_.tensors[static_cast<size_t>(tensor)].dims; }

  const AttentionProblem& p_;
  Graph graph_;
};

}  // namespace

Graph forward_graph(const AttentionProblem& p) {
  Sketch g(p);
  const int q = g.heads(Place::kQ, p.heads, p.qk_dim, p.q_stride);
  const int k_t = g.transposed_heads(Place::kK, p.kv_heads, p.qk_dim, p.k_stride);
  const int v = g.heads(Place::kV, p.kv_heads, p.v_dim, p.v_stride);
  const int o = g.heads(Place::kO, p.heads, p.v_dim, p.o_stride);

  const int scaled = g.apply(Op::kMultiply, g.matmul(q, k_t), g.number(Place::kScale));
  const int scores = g.visible(scaled);
  const int max = g.reduce(Op::kReduceMax, scores);
  const int exps = g.apply(Op::kExp, g.apply(Op::kSubtract, scores, max));
  const int sum = g.reduce(Op::kReduceSum, exps);
  g.into(g.lse(), Op::kAdd, max, g.apply(Op::kLog, sum));
  g.into(o, Op::kMatmul, g.apply(Op::kDivide, exps, sum, Element::kBF16), v);
  return g.take();
}

Graph backward_graph(const AttentionProblem& p) {
  Sketch g(p);
  const int q = g.heads(Place::kQ, p.heads, p.qk_dim, p.q_stride);
  const int k_t = g.transposed_heads(Place::kK, p.kv_heads, p.qk_dim, p.k_stride);
  const int v_t = g.transposed_heads(Place::kV, p.kv_heads, p.v_dim, p.v_stride);
  const int o = g.heads(Place::kO, p.heads, p.v_dim, p.o_stride);
  const int dout = g.heads(Place::kDo, p.heads, p.v_dim, p.do_stride);
  const int dq = g.heads(Place::kDq, p.heads, p.qk_dim, p.dq_stride);
  const int dk = g.heads(Place::kDk, p.kv_heads, p.qk_dim, p.dk_stride);
  const int dv = g.heads(Place::kDv, p.kv_heads, p.v_dim, p.dv_stride);
  const int scale = g.number(Place::kScale);

  // delta = rowsum(do o), in memory: the multiplication by one is what cuDNN looks for.
  const int of_rows = g.reduce(Op::kReduceSum, g.apply(Op::kMultiply, dout, o));
  const int delta = g.tensor(Place::kDelta, Element::kF32, g.row_dims(), packed(g.row_dims()));
  g.into(delta, Op::kMultiply, of_rows, g.number(Place::kOne));

  const int scaled = g.apply(Op::kMultiply, g.matmul(q, k_t), scale);
  const int prob = g.apply(Op::kExp, g.visible(g.apply(Op::kSubtract, scaled, g.lse())));
  g.matmul_over_group(g.transposed(prob), dout, dv);

  const int dprob = g.apply(Op::kSubtract, g.matmul(dout, v_t), delta);
  const int slope = g.apply(Op::kMultiply, dprob, prob);
  const int dscores = g.apply(Op::kMultiply, slope, scale, Element::kBF16);
  g.matmul_over_group(g.transposed(dscores), q, dk);

  const int k = g.heads(Place::kInside, p.kv_heads, p.qk_dim, p.k_stride);
  g.into(k, Op::kReshape, k_t);
  if (p.any_order) {
    const Dims dims{p.batch, p.heads, p.length, p.qk_dim};
    const int sum = g.tensor(Place::kDqSum, Element::kF32, dims, packed(dims));
    g.into(sum, Op::kMatmul, dscores, k);
    g.into(dq, Op::kIdentity, sum);
  } else {
    g.into(dq, Op::kMatmul, dscores, k);
  }
  return g.take();
}

int64_t extent_of(const GraphTensor& tensor) {
  int64_t extent = 1;
  for (size_t i = 0; i < 4; ++i) extent += (tensor.dims[i] - 1) * tensor.strides[i];
  return extent;
}

int64_t offset_of(const GraphTensor& tensor, int64_t sequence, int64_t kv_head, int64_t group) {
  int64_t head = 0;
  switch (tensor.place) {
    case Place::kQ:
    case Place::kO:
    case Place::kLse:
    case Place::kDo:
    case Place::kDq:
      head = kv_head * group;
      break;
    case Place::kK:
    case Place::kV:
    case Place::kDk:
    case Place::kDv:
      head = kv_head;
      break;
    case Place::kDocStart:
      break;
    default:
      return 0;
  }
  return sequence * tensor.strides[0] + head * tensor.strides[1];
}

}  // namespace orthant::cuda::cudnn
