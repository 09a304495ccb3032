// SPDX-License-Identifier: Apache-2.0
// Which elements go where when a tensor that was cut one way is wanted cut another way.
//
// Pure arithmetic: nothing here touches a tensor's memory, a file or a rank.  Checkpoints, changes
// of layout and the second layout of RLHF all use it.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "tensor/shape.h"

namespace orthant {

// A piece of a logical tensor: a rectangle, and of the rectangle's elements (row-major) the range
// [flat_begin, flat_begin + flat_size).  ZeRO cuts rectangles into such ranges.
struct TensorSlice {
  std::vector<int64_t> begin;  // one per dimension
  Shape shape;
  int64_t flat_begin = 0;
  int64_t flat_size = -1;  // -1: the whole rectangle

  int64_t numel() const { return flat_size < 0 ? shape.numel() : flat_size; }
  bool is_whole_rectangle() const { return flat_begin == 0 && numel() == shape.numel(); }
  // "[0:4, 8:16]", with " elements 0:12" when it is a part of the rectangle.
  std::string text() const;
};
// The whole tensor.
TensorSlice whole_slice(const Shape& global_shape);
// "" when the slice lies inside a tensor of this shape, else what is wrong with it.
std::string slice_fault(const Shape& global_shape, const TensorSlice& slice);

// `length` elements, consecutive in both slices; offsets count the elements that a slice holds.
struct SliceCopy {
  int64_t from = 0;  // index of the source slice
  int64_t from_offset = 0;
  int64_t to_offset = 0;
  int64_t length = 0;
  bool operator==(const SliceCopy&) const = default;
};

// The copies that fill `to` from those `from` slices that meet it, by source, then ascending.
// Where sources are disjoint, the lengths add up to to.numel() exactly when `to` is filled.
// Slices must be of one tensor and free of faults: Error(kInternal) when ranks differ.
std::vector<SliceCopy> plan_copies(std::span<const TensorSlice> from, const TensorSlice& to);

// "" when the slices hold every element of a tensor of this shape exactly once, else what is wrong.
std::string coverage_fault(const Shape& global_shape, std::span<const TensorSlice> slices);

}  // namespace orthant
