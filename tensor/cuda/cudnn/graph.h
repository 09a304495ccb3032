// SPDX-License-Identifier: Apache-2.0
// Attention as a graph of small operations, in the order in which cuDNN recognises its fused
// kernels.  Plain data: build.cpp turns it into descriptors, and tests/tensor/cudnn_graph_test.cpp
// computes it on the host, which proves its mathematics without a GPU.
//
// Tensors have four dims {batch, heads, rows, cols}.  A dim of an operand that is smaller than the
// result's repeats: one row or column for all, or one KV head for its query heads.
#pragma once

#include <array>
#include <cstdint>
#include <vector>

#include "tensor/cuda/cudnn/problem.h"

namespace orthant::cuda::cudnn {

enum class Element { kBF16, kF32, kI32, kBool };

// Where a tensor is: inside a fused kernel, in memory of the call, in memory that the caller of the
// plan lends (kDelta, kDqSum; kLse when the call does not want it), or a number given with the
// call.
enum class Place {
  kInside,
  kQ,
  kK,
  kV,
  kO,
  kLse,
  kDocStart,
  kDo,
  kDq,
  kDk,
  kDv,
  kDelta,
  kDqSum,
  kScale,
  kOne,
  kMasked
};
inline bool is_number(Place place) { return place >= Place::kScale; }
// The score of a key that a query does not see.  Not minus infinity: where every key of a block is
// masked, as those before a document are, the block's maximum is this, and a kernel may subtract
// it.  What comes of it is multiplied by exp(kMaskedScore) = 0 when the first key that is seen
// comes.
inline constexpr float kMaskedScore = -1024.0f * 1024.0f * 1024.0f;

using Dims = std::array<int64_t, 4>;

struct GraphTensor {
  Place place;
  Element element;
  Dims dims, strides;  // strides in elements
};

enum class Op {
  kMatmul,  // y = x b, over rows and cols
  kMultiply,
  kAdd,
  kSubtract,
  kDivide,
  kExp,
  kLog,
  kIdentity,
  kIndex,         // y = the element's own index in dim `axis`
  kGreaterEqual,  // y = x >= b
  kSelect,        // y = mask ? x : b
  kReduceMax,     // over the dims that y has fewer of
  kReduceSum,
  kReshape  // the same memory under other dims and strides
};

struct GraphNode {
  Op op;
  int x, b, mask, y;  // indices of tensors, -1 for an operand that the op does not have
  int axis;           // kIndex only
};

struct Graph {
  std::vector<GraphTensor> tensors;
  std::vector<GraphNode> nodes;  // in order
};

// o, and lse: the natural logarithm of the sum of exponentials of the scaled scores.
Graph forward_graph(const AttentionProblem& problem);
// dq, dk, dv from q, k, v, o, do and lse.
Graph backward_graph(const AttentionProblem& problem);

// Elements between the first and the last of the tensor, both counted.
int64_t extent_of(const GraphTensor& tensor);
// Elements between the beginning of a view and the part (see Part) that begins with this sequence
// and KV head; `group` query heads belong to a KV head.  0 for what is not the call's.
int64_t offset_of(const GraphTensor& tensor, int64_t sequence, int64_t kv_head, int64_t group);

}  // namespace orthant::cuda::cudnn
