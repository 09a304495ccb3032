// SPDX-License-Identifier: Apache-2.0
// What forward and backward attention share: documents of a sequence, tiles in scratch memory.
//
// Keys come in blocks of kBlock counted from the first key of a document (or of the call, where it
// has only later ones), and query tiles do not cross a document border, so that a row's result
// depends on its query and its visible keys alone.  In scratch memory tiles are of the wide type,
// row widths padded with zeros to whole vectors.
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

struct KeyRange {
  int64_t begin, end;
  bool is_empty() const { return begin >= end; }
};

// Consecutive query rows [begin, end) of one sequence with the same document.  Its keys are counted
// from the first one that the call has, which stands in row first_key.
struct Document {
  int64_t begin, end;
  int64_t first_key, num_keys;
  int64_t shift;  // of a query's row to its key
  int64_t window;

  // Keys that the queries [first_row, last_row] see.
  KeyRange seen_by(int64_t first_row, int64_t last_row) const {
    return {max_of(0, first_row + shift - window + 1), min_of(num_keys, last_row + shift + 1)};
  }
  // The same from a whole block on.
  KeyRange blocks_seen_by(int64_t first_row, int64_t last_row) const {
    const KeyRange seen = seen_by(first_row, last_row);
    return {seen.begin / kBlock * kBlock, seen.end};
  }
  // The same in the block that starts at key `first`, counted from there.
  KeyRange seen_in_block(int64_t first_row, int64_t last_row, int64_t first) const {
    const KeyRange seen = seen_by(first_row, last_row);
    return {max_of(0, seen.begin - first), min_of(kBlock, seen.end - first)};
  }
};
// The one that begins at row `begin`, up to row `end`.
inline Document next_document(const AttentionArgs& args, int64_t sequence, int64_t begin,
                              int64_t end) {
  constexpr int64_t kNoWindow = int64_t{1} << 60;
  int64_t start = 0, stop = end;
  if (const int32_t* starts = static_cast<const int32_t*>(args.doc_start.data)) {
    starts += sequence * args.q_stride;
    start = starts[begin];
    for (stop = begin + 1; stop < end && starts[stop] == start;) ++stop;
  }
  const int64_t origin = max_of(start, args.kv_offset);
  return {.begin = begin,
          .end = stop,
          .first_key = sequence * args.kv_stride + origin - args.kv_offset,
          .num_keys = args.kv_offset + args.kv_len - origin,
          .shift = args.q_offset - origin,
          .window = args.window > 0 ? args.window : kNoWindow};
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

}  // namespace orthant::cpu::ORTHANT_ISA
