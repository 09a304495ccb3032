// SPDX-License-Identifier: Apache-2.0
#include "parallel/split_dim.h"

#include <numeric>

#include "base/error.h"
#include "tensor/ops/call.h"

namespace orthant {
namespace {

// The same shape with another size along the dimension of `parts`.
Shape resized(const Tensor& tensor, const Parts& parts, int64_t size) {
  Shape shape = tensor.shape();
  shape[parts.dim] = size;
  return shape;
}

// Equal elements from one view to the other, on the tensors' device.
void copy_view(const Tensor& from, const View& from_view, const Tensor& to, const View& to_view) {
  if (from_view.shape[0] == 0 || from_view.shape[1] == 0) return;
  ops::call(&Backend::cast, "copy of columns", {&from, &to},
            CastArgs{.x = from_view, .y = to_view, .accumulate = 0});
}

// The columns of rank r in a whole tensor, and the block of its own that they are when every
// rank's columns stand one block after the other.
View columns_of_rank(const Tensor& whole, const Parts& parts, int rank) {
  const int64_t begin = parts.begin(rank);
  return ops::columns_of(whole, begin, begin + parts.sizes[static_cast<size_t>(rank)]);
}

View block_of_rank(const Tensor& blocks, const Parts& parts, int rank, int64_t rows) {
  const int64_t begin = parts.begin(rank) * rows, size = parts.sizes[static_cast<size_t>(rank)];
  return ops::view_of(blocks.flat(begin, begin + rows * size).view({rows, size}));
}

// [D0, ..., total] as one block after the other: block r holds the columns of rank r.
Tensor blocks_of_columns(const Tensor& whole, const Parts& parts) {
  const Tensor blocks = Tensor::empty({whole.numel()}, whole.dtype(), whole.device());
  for (int r = 0; r < std::ssize(parts.sizes); ++r) {
    copy_view(whole, columns_of_rank(whole, parts, r), blocks,
              block_of_rank(blocks, parts, r, whole.rows()));
  }
  return blocks;
}

void columns_from_blocks(const Tensor& blocks, const Parts& parts, const Tensor& whole) {
  for (int r = 0; r < std::ssize(parts.sizes); ++r) {
    copy_view(blocks, block_of_rank(blocks, parts, r, whole.rows()), whole,
              columns_of_rank(whole, parts, r));
  }
}

std::vector<int64_t> block_sizes(const Parts& parts, int64_t rows) {
  std::vector<int64_t> sizes;
  for (const int64_t size : parts.sizes) sizes.push_back(size * rows);
  return sizes;
}

}  // namespace

int64_t Parts::total() const { return std::accumulate(sizes.begin(), sizes.end(), int64_t{0}); }

int64_t Parts::begin(int rank) const {
  return std::accumulate(sizes.begin(), sizes.begin() + rank, int64_t{0});
}

Parts make_parts(const char* op, const Group& group, int dim, int num_dims, int64_t whole,
                 std::span<const int64_t> sizes, Site site) {
  ORTHANT_CHECK(num_dims >= 1 && (dim == 0 || dim == -1 || dim == num_dims - 1), kInternal, op,
                " on group ", group.name(), ": want dim 0 or the last, got ", dim, " of ",
                num_dims);
  const int64_t n = group.size();
  Parts parts{.dim = dim == 0 ? 0 : -1, .sizes = {sizes.begin(), sizes.end()}};
  if (sizes.empty()) {
    if (whole % n != 0) {
      throw_error(ErrorKind::kInternal,
                  concat(op, " on group ", group.name(), ": want a size that ", n,
                         " ranks divide along dim ", dim, ", got ", whole),
                  site);
    }
    parts.sizes.assign(static_cast<size_t>(n), whole / n);
  }
  if (std::ssize(parts.sizes) != n || parts.total() != whole) {
    throw_error(
        ErrorKind::kInternal,
        concat(op, " on group ", group.name(), ": want ", n, " sizes that add up to ", whole,
               " along dim ", dim, ", got ", parts.sizes.size(), " that add up to ", parts.total()),
        site);
  }
  return parts;
}

Tensor own_part(const Tensor& whole, const Parts& parts, int rank) {
  const int64_t begin = parts.begin(rank), size = parts.sizes[static_cast<size_t>(rank)];
  if (parts.dim == 0) return whole.slice(begin, begin + size);
  const Tensor part = Tensor::empty(resized(whole, parts, size), whole.dtype(), whole.device());
  copy_view(whole, columns_of_rank(whole, parts, rank), part, ops::columns_of(part, 0, size));
  return part;
}

Tensor gather_parts(const Tensor& part, const Parts& parts, const Group& group, Site site) {
  const Tensor whole =
      Tensor::empty(resized(part, parts, parts.total()), part.dtype(), part.device());
  if (parts.dim == 0) {
    group.all_gather(part, whole, parts.sizes, site).wait();
    return whole;
  }
  const Tensor blocks = Tensor::empty({whole.numel()}, part.dtype(), part.device());
  group.all_gather(part.view({part.numel()}), blocks, block_sizes(parts, whole.rows()), site)
      .wait();
  columns_from_blocks(blocks, parts, whole);
  return whole;
}

Tensor reduce_parts(const Tensor& whole, const Parts& parts, const Group& group, Site site) {
  const int64_t own = parts.sizes[static_cast<size_t>(group.rank())];
  const Tensor part = Tensor::empty(resized(whole, parts, own), whole.dtype(), whole.device());
  if (parts.dim == 0) {
    group.reduce_scatter(whole, part, parts.sizes, site).wait();
    return part;
  }
  group
      .reduce_scatter(blocks_of_columns(whole, parts), part.view({part.numel()}),
                      block_sizes(parts, whole.rows()), site)
      .wait();
  return part;
}

}  // namespace orthant
