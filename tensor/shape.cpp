// SPDX-License-Identifier: Apache-2.0
#include "tensor/shape.h"

#include "base/error.h"

namespace orthant {

Shape::Shape(std::initializer_list<int64_t> dims) {
  for (int64_t dim : dims) push_back(dim);
}

void Shape::push_back(int64_t dim) {
  ORTHANT_CHECK(rank_ < kMaxDims, kInternal, "shape: want at most ", kMaxDims, " dimensions");
  ORTHANT_CHECK(dim >= 0, kInternal, "shape: want no negative dimension, got ", dim);
  dims_[static_cast<size_t>(rank_++)] = dim;
}

int64_t Shape::numel() const {
  int64_t product = 1;
  for (int64_t dim : *this) {
    ORTHANT_CHECK(!__builtin_mul_overflow(product, dim, &product), kInternal, "shape ", text(),
                  ": too many elements");
  }
  return product;
}

bool Shape::operator==(const Shape& other) const {
  if (rank_ != other.rank_) return false;
  for (int i = 0; i < rank_; ++i) {
    if ((*this)[i] != other[i]) return false;
  }
  return true;
}

std::string Shape::text() const {
  std::string result = "[";
  for (int i = 0; i < rank_; ++i) result += (i ? ", " : "") + std::to_string((*this)[i]);
  return result + "]";
}

}  // namespace orthant
