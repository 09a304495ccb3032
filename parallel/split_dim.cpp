// SPDX-License-Identifier: Apache-2.0
#include "parallel/split_dim.h"

#include <cstring>
#include <numeric>

#include "base/error.h"
#include "base/parallel_for.h"

namespace orthant {
namespace {

// The same shape with another size along the dimension of `parts`.
Shape resized(const Tensor& tensor, const Parts& parts, int64_t size) {
  Shape shape = tensor.shape();
  shape[parts.dim] = size;
  return shape;
}

// Copies `width` bytes of each of `rows` rows that start `from_stride` and `to_stride` bytes apart.
void copy_columns(const char* from, int64_t from_stride, char* to, int64_t to_stride, int64_t rows,
                  int64_t width) {
  if (width == 0) return;
  parallel_for(rows, 256, [=](int64_t begin, int64_t end) {
    for (int64_t r = begin; r < end; ++r) {
      std::memcpy(to + r * to_stride, from + r * from_stride, static_cast<size_t>(width));
    }
  });
}

// TODO(B): a strided copy in the backend table, for devices.
char* host_data(const Tensor& tensor) {
  ORTHANT_CHECK(tensor.device().is_cpu(), kDevice, "columns of ", describe(tensor),
                ": only host tensors are cut along the last dimension yet; use device: cpu");
  return static_cast<char*>(tensor.data());
}

// [D0, ..., total] as one block after the other: block r holds the columns of rank r.
Tensor blocks_of_columns(const Tensor& whole, const Parts& parts) {
  const Tensor blocks = Tensor::empty({whole.numel()}, whole.dtype(), whole.device());
  const int64_t elem = size_of(whole.dtype()), row = parts.total() * elem;
  const int64_t rows = whole.rows();
  const char* from = host_data(whole);
  char* to = host_data(blocks);
  for (const int64_t size : parts.sizes) {
    copy_columns(from, row, to, size * elem, rows, size * elem);
    from += size * elem;
    to += rows * size * elem;
  }
  return blocks;
}

void columns_from_blocks(const Tensor& blocks, const Parts& parts, const Tensor& whole) {
  const int64_t elem = size_of(whole.dtype()), row = parts.total() * elem;
  const int64_t rows = whole.rows();
  const char* from = host_data(blocks);
  char* to = host_data(whole);
  for (const int64_t size : parts.sizes) {
    copy_columns(from, size * elem, to, row, rows, size * elem);
    from += rows * size * elem;
    to += size * elem;
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
  const int64_t elem = size_of(whole.dtype());
  copy_columns(host_data(whole) + begin * elem, parts.total() * elem, host_data(part), size * elem,
               whole.rows(), size * elem);
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
