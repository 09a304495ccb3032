// SPDX-License-Identifier: Apache-2.0
// What forward and backward attention share: documents of a sequence, tiles in scratch memory.
//
// Keys come in blocks of kBlock counted from the first key of a document, and query tiles do not
// cross a document border, so that a row's result depends on its query and its visible keys alone.
// In scratch memory tiles are of the wide type, row widths padded with zeros to whole vectors.
#pragma once

#include <cstdint>

#include "tensor/cpu/kernels/rows.h"
#include "tensor/cpu/kernels/small_product.h"
#include "tensor/cpu/kernels/softmax.h"

namespace orthant::cpu::ORTHANT_ISA {

inline constexpr int64_t kBlock = 64;  // keys in a block, and queries in a tile

template <class T>
inline int64_t padded(int64_t n) {
  return (n + kLanes<T> - 1) / kLanes<T> * kLanes<T>;
}
inline int64_t blocks_of(int64_t n) { return (n + kBlock - 1) / kBlock; }

// Consecutive query rows [begin, end) of one sequence that see the same first key.
struct Document {
  int64_t begin, end, first_key;
};
inline Document next_document(const AttentionArgs& args, int64_t sequence, int64_t begin) {
  const int32_t* starts = static_cast<const int32_t*>(args.doc_start.data);
  if (!starts) return {begin, args.q_len, 0};
  starts += sequence * args.q_len;
  int64_t end = begin + 1;
  while (end < args.q_len && starts[end] == starts[begin]) ++end;
  return {begin, end, starts[begin]};
}

// Cuts `T` arrays out of one scratch block; with base null it only counts.
template <class T>
class Carver {
 public:
  explicit Carver(void* base) : base_(static_cast<T*>(base)) {}
  T* take(int64_t elems) {
    T* result = base_ ? base_ + used_ : nullptr;
    used_ += (elems + 15) / 16 * 16;
    return result;
  }
  int64_t bytes() const { return used_ * static_cast<int64_t>(sizeof(T)); }

 private:
  T* base_;
  int64_t used_ = 0;
};

// to[row][0..width padded) = from[row][0..width) * factor
template <class M, class T>
[[gnu::flatten]] inline void pack_rows(const M* from, int64_t stride, int64_t rows, int64_t width,
                                       T factor, T* to) {
  const int64_t ld = padded<T>(width);
  for (int64_t r = 0; r < rows; ++r)
    for_each_vec<T>(width, [&](int64_t i, int64_t count) {
      store(to + r * ld + i, load(from + r * stride + i, count) * factor);
    });
}

// Transposed blocks: to[block][i][key] = from[block * kBlock + key][i], zeros beyond the last key.
template <class M, class T>
[[gnu::flatten]] inline void pack_transposed(const M* from, int64_t stride, int64_t rows,
                                             int64_t width, T* to) {
  constexpr int64_t kL = kLanes<T>;
  for (int64_t first = 0; first < rows; first += kBlock, to += width * kBlock) {
    for (int64_t key = 0; key < kBlock; key += kL) {
      for (int64_t i = 0; i < width; i += kL) {
        const int64_t count = min_of(kL, width - i);
        Vec<T> square[kL];
        for (int64_t r = 0; r < kL; ++r) {
          const int64_t row = first + key + r;
          square[r] = row < rows ? load(from + row * stride + i, count) : Vec<T>{};
        }
        transpose<T>(square);
        for (int64_t r = 0; r < count; ++r) store(to + (i + r) * kBlock + key, square[r]);
      }
    }
  }
}

// Keys of the block that starts at `first` which the query at key position `position` sees.
inline int64_t visible_keys(int64_t position, int64_t first) {
  return max_of(0, min_of(kBlock, position + 1 - first));
}

}  // namespace orthant::cpu::ORTHANT_ISA
