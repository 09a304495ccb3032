// SPDX-License-Identifier: Apache-2.0
#include "parallel/context/ulysses_attention.h"

#include <vector>

#include "base/error.h"
#include "parallel/collectives.h"
#include "parallel/context/sequence_split.h"
#include "tensor/ops/call.h"

namespace orthant {
namespace {

// Widths of the column blocks of a row (q, k and v); each is shared out over the ranks evenly.
using Widths = std::vector<int64_t>;

// Between x [N, sum of widths] and its parts by rank, [P * N, sum / P]: part p has p's columns of
// every block.
enum class Direction { kSplit, kJoin };
void move_columns(Direction direction, const Tensor& whole, const Tensor& parts,
                  const Widths& widths, int num_ranks) {
  const int64_t rows = whole.dim(0);
  for (int rank = 0; rank < num_ranks; ++rank) {
    const Tensor part = parts.slice(rank * rows, (rank + 1) * rows);
    int64_t at = 0, block = 0;
    for (const int64_t width : widths) {
      const int64_t own = width / num_ranks, begin = block + rank * own;
      const View here = ops::columns_of(whole, begin, begin + own);
      const View there = ops::columns_of(part, at, at + own);
      const bool split = direction == Direction::kSplit;
      ops::call(&Backend::cast, "ulysses_attention", {&whole, &parts},
                CastArgs{.x = split ? here : there, .y = split ? there : here});
      at += own;
      block += width;
    }
  }
}

Tensor split(const Tensor& whole, const Widths& widths, int num_ranks) {
  const Tensor parts = Tensor::empty({whole.dim(0) * num_ranks, whole.dim(1) / num_ranks},
                                     whole.dtype(), whole.device());
  move_columns(Direction::kSplit, whole, parts, widths, num_ranks);
  return parts;
}
Tensor join(const Tensor& parts, const Widths& widths, int num_ranks) {
  const Tensor whole = Tensor::empty({parts.dim(0) / num_ranks, parts.dim(1) * num_ranks},
                                     parts.dtype(), parts.device());
  move_columns(Direction::kJoin, whole, parts, widths, num_ranks);
  return whole;
}

Var split_heads(const Var& x, const Widths& widths, int num_ranks) {
  return record("split_heads", {x}, split(x.value(), widths, num_ranks),
                [=](const Tensor& dy) -> Grads { return {join(dy, widths, num_ranks)}; });
}
Var join_heads(const Var& x, const Widths& widths, int num_ranks) {
  return record("join_heads", {x}, join(x.value(), widths, num_ranks),
                [=](const Tensor& dy) -> Grads { return {split(dy, widths, num_ranks)}; });
}

// Rows as they come, (rank, sequence, token of the rank), and the rows of whole sequences.
struct Order {
  Tensor came_to_row, row_to_came;  // i32 [B*T]
};
Order order_of(const SequenceSplit& split, int64_t batch, Device device) {
  std::vector<int32_t> row_of;
  for (int rank = 0; rank < split.num_ranks(); ++rank)
    for (const int64_t row : split.rows_of(rank, batch))
      row_of.push_back(static_cast<int32_t>(row));
  std::vector<int32_t> came_from(row_of.size());
  for (size_t i = 0; i < row_of.size(); ++i)
    came_from[static_cast<size_t>(row_of[i])] = static_cast<int32_t>(i);
  const auto rows = static_cast<int64_t>(row_of.size());
  return {Tensor::from_i32({rows}, row_of, device), Tensor::from_i32({rows}, came_from, device)};
}

// y[i] = x[index[i]], for an index that is a permutation.
Var permute_rows(const Var& x, const Tensor& index, const Tensor& inverse) {
  return gather_rows(x, index, inverse.view({inverse.dim(0), 1}));
}

}  // namespace

Var ulysses_attention(const Var& qkv, const Tensor& doc_start, const AttentionShape& shape,
                      const Group& group, Site site) {
  const int ranks = group.size();
  if (ranks == 1) return attention(qkv, doc_start, shape);
  const Tensor& x = qkv.value();
  ORTHANT_OP_CHECK("ulysses_attention",
                   x.rank() == 2 && x.dim(1) == shape.v_end() && x.dim(0) % shape.batch == 0 &&
                       why_not_ulysses(shape.heads, shape.kv_heads, ranks).empty(),
                   x);
  ORTHANT_OP_CHECK("ulysses_attention", doc_start.numel() == x.dim(0) * ranks, x, doc_start);
  const std::vector<int64_t> rows(static_cast<size_t>(ranks), x.dim(0));
  const Order order = order_of({x.dim(0) / shape.batch * ranks, ranks}, shape.batch, x.device());
  const Widths qkv_widths = {shape.q_end(), shape.k_end() - shape.q_end(),
                             shape.v_end() - shape.k_end()};
  AttentionShape own = shape;
  own.heads /= ranks;
  own.kv_heads /= ranks;

  const Var came = all_to_all(split_heads(qkv, qkv_widths, ranks), rows, rows, group, site);
  const Var o = attention(permute_rows(came, order.row_to_came, order.came_to_row), doc_start, own);
  const Var back =
      all_to_all(permute_rows(o, order.came_to_row, order.row_to_came), rows, rows, group, site);
  return join_heads(back, {shape.heads * shape.v_dim}, ranks);
}

std::string why_not_ulysses(int64_t heads, int64_t kv_heads, int num_ranks) {
  if (heads % num_ranks == 0 && kv_heads % num_ranks == 0) return "";
  return concat(num_ranks, " context-parallel ranks cannot share ", heads, " query heads and ",
                kv_heads, " KV heads: both must be multiples of ", num_ranks,
                "; the ring has no such limit");
}

}  // namespace orthant
