// SPDX-License-Identifier: Apache-2.0
// Sizes of a tensor's dimensions, at most kMaxDims of them; row-major, the last varies fastest.
#pragma once

#include <array>
#include <cstdint>
#include <initializer_list>
#include <string>

namespace orthant {

inline constexpr int kMaxDims = 5;

class Shape {
 public:
  Shape() = default;
  Shape(std::initializer_list<int64_t> dims);
  template <class Iterator>
  Shape(Iterator begin, Iterator end) {
    for (; begin != end; ++begin) push_back(*begin);
  }
  void push_back(int64_t dim);
  int rank() const { return rank_; }
  int64_t operator[](int dim) const {
    return dims_[static_cast<size_t>(dim < 0 ? dim + rank_ : dim)];
  }
  int64_t& operator[](int dim) { return dims_[static_cast<size_t>(dim < 0 ? dim + rank_ : dim)]; }
  int64_t numel() const;
  const int64_t* begin() const { return dims_.data(); }
  const int64_t* end() const { return dims_.data() + rank_; }
  bool operator==(const Shape& other) const;
  std::string text() const;  // "[2, 3]"

 private:
  std::array<int64_t, kMaxDims> dims_{};
  int rank_ = 0;
};

}  // namespace orthant
