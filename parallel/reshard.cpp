// SPDX-License-Identifier: Apache-2.0
#include "parallel/reshard.h"

#include <algorithm>
#include <map>

#include "base/error.h"

namespace orthant {
namespace {

int64_t begin_of(const TensorSlice& slice, int dim) {
  return slice.begin[static_cast<size_t>(dim)];
}
int64_t end_of(const TensorSlice& slice, int dim) {
  return begin_of(slice, dim) + slice.shape[dim];
}

// The elements that two rectangles share, as runs: the i-th run is `length` elements that start at
// element position(slice, i) of either rectangle; positions ascend with i.
class SharedRuns {
 public:
  // False when nothing is shared.
  bool set(const TensorSlice& a, const TensorSlice& b) {
    const int rank = a.shape.rank();
    begin_.assign(static_cast<size_t>(rank), 0);
    Shape extent;
    for (int d = 0; d < rank; ++d) {
      const int64_t begin = std::max(begin_of(a, d), begin_of(b, d));
      const int64_t end = std::min(end_of(a, d), end_of(b, d));
      if (begin >= end) return false;
      begin_[static_cast<size_t>(d)] = begin;
      extent.push_back(end - begin);
    }
    // Trailing dimensions that are whole in both make longer runs.
    outer_rank_ = rank == 0 ? 0 : rank - 1;
    length = rank == 0 ? 1 : extent[rank - 1];
    while (outer_rank_ > 0 && extent[outer_rank_] == a.shape[outer_rank_] &&
           extent[outer_rank_] == b.shape[outer_rank_]) {
      length *= extent[--outer_rank_];
    }
    extent_ = extent;
    count = 1;
    for (int d = 0; d < outer_rank_; ++d) count *= extent[d];
    return true;
  }

  int64_t position(const TensorSlice& slice, int64_t run) const {
    int64_t offset = 0, stride = 1;
    for (int d = slice.shape.rank() - 1; d >= 0; --d) {
      int64_t index = begin_[static_cast<size_t>(d)] - begin_of(slice, d);
      if (d < outer_rank_) {
        index += run % extent_[d];
        run /= extent_[d];
      }
      offset += index * stride;
      stride *= slice.shape[d];
    }
    return offset;
  }

  int64_t count = 0, length = 0;

 private:
  std::vector<int64_t> begin_;
  Shape extent_;
  int outer_rank_ = 0;
};

// The first i in [0, count) for which `past(i)` holds, which stays so from there on.
template <class Predicate>
int64_t first_where(int64_t count, Predicate past) {
  int64_t low = 0, high = count;
  while (low < high) {
    const int64_t middle = low + (high - low) / 2;
    if (past(middle)) {
      high = middle;
    } else {
      low = middle + 1;
    }
  }
  return low;
}

void add_copies(int64_t from_index, const TensorSlice& from, const TensorSlice& to,
                std::vector<SliceCopy>& copies) {
  SharedRuns runs;
  if (!runs.set(from, to)) return;
  const int64_t from_end = from.flat_begin + from.numel(), to_end = to.flat_begin + to.numel();
  // Runs before and behind the flat ranges are skipped without looking at them.
  const int64_t first = first_where(runs.count, [&](int64_t i) {
    return runs.position(from, i) + runs.length > from.flat_begin &&
           runs.position(to, i) + runs.length > to.flat_begin;
  });
  for (int64_t i = first; i < runs.count; ++i) {
    const int64_t a = runs.position(from, i), b = runs.position(to, i);
    if (a >= from_end || b >= to_end) break;
    const int64_t low = std::max({int64_t{0}, from.flat_begin - a, to.flat_begin - b});
    const int64_t high = std::min({runs.length, from_end - a, to_end - b});
    if (low >= high) continue;
    const SliceCopy copy{from_index, a + low - from.flat_begin, b + low - to.flat_begin,
                         high - low};
    if (!copies.empty() && copies.back().from == from_index &&
        copies.back().from_offset + copies.back().length == copy.from_offset &&
        copies.back().to_offset + copies.back().length == copy.to_offset) {
      copies.back().length += copy.length;
    } else {
      copies.push_back(copy);
    }
  }
}

using Rectangle = std::pair<std::vector<int64_t>, std::vector<int64_t>>;  // begin, shape

// "" unless two slices of one rectangle share an element.  Slices are sorted by flat_begin.
std::string overlap_within(const std::vector<const TensorSlice*>& slices) {
  for (size_t i = 1; i < slices.size(); ++i) {
    if (slices[i - 1]->flat_begin + slices[i - 1]->numel() > slices[i]->flat_begin) {
      return concat("slices ", slices[i - 1]->text(), " and ", slices[i]->text(), " overlap");
    }
  }
  return "";
}

std::string overlap_between(const std::vector<const TensorSlice*>& a,
                            const std::vector<const TensorSlice*>& b) {
  SharedRuns runs;
  if (!runs.set(*a.front(), *b.front())) return "";
  std::vector<SliceCopy> copies;
  for (const TensorSlice* x : a) {
    for (const TensorSlice* y : b) {
      add_copies(0, *x, *y, copies);
      if (!copies.empty()) return concat("slices ", x->text(), " and ", y->text(), " overlap");
    }
  }
  return "";
}

}  // namespace

std::string TensorSlice::text() const {
  std::string result = "[";
  for (int d = 0; d < shape.rank(); ++d) {
    result += concat(d ? ", " : "", begin_of(*this, d), ":", end_of(*this, d));
  }
  result += "]";
  if (!is_whole_rectangle()) {
    result += concat(" elements ", flat_begin, ":", flat_begin + numel());
  }
  return result;
}

TensorSlice whole_slice(const Shape& global_shape) {
  return {.begin = std::vector<int64_t>(static_cast<size_t>(global_shape.rank()), 0),
          .shape = global_shape};
}

std::string slice_fault(const Shape& global_shape, const TensorSlice& slice) {
  const int rank = global_shape.rank();
  if (slice.shape.rank() != rank || static_cast<int>(slice.begin.size()) != rank) {
    return concat("want ", rank, " dimensions, got a slice of ", slice.shape.rank());
  }
  for (int d = 0; d < rank; ++d) {
    if (begin_of(slice, d) < 0 || slice.shape[d] < 0 ||
        begin_of(slice, d) > global_shape[d] - slice.shape[d]) {
      return concat("slice ", slice.text(), " is outside ", global_shape.text());
    }
  }
  const int64_t elements = slice.shape.numel();
  if (slice.flat_begin < 0 || slice.flat_begin > elements || slice.flat_size < -1 ||
      slice.numel() > elements - slice.flat_begin) {
    return concat("slice ", slice.text(), " wants elements outside its rectangle of ", elements);
  }
  return "";
}

std::vector<SliceCopy> plan_copies(std::span<const TensorSlice> from, const TensorSlice& to) {
  std::vector<SliceCopy> copies;
  for (size_t i = 0; i < from.size(); ++i) {
    ORTHANT_CHECK(from[i].shape.rank() == to.shape.rank(), kInternal,
                  "plan_copies: want slices of one tensor, got ", from[i].text(), " and ",
                  to.text());
    add_copies(static_cast<int64_t>(i), from[i], to, copies);
  }
  return copies;
}

std::string coverage_fault(const Shape& global_shape, std::span<const TensorSlice> slices) {
  int64_t held = 0;
  std::map<Rectangle, std::vector<const TensorSlice*>> rectangles;
  for (const TensorSlice& slice : slices) {
    if (std::string fault = slice_fault(global_shape, slice); !fault.empty()) return fault;
    if (slice.numel() == 0) continue;
    if (__builtin_add_overflow(held, slice.numel(), &held)) return "slices overlap";
    rectangles[{slice.begin, {slice.shape.begin(), slice.shape.end()}}].push_back(&slice);
  }
  for (auto& [rectangle, parts] : rectangles) {
    std::sort(parts.begin(), parts.end(), [](const TensorSlice* a, const TensorSlice* b) {
      return a->flat_begin < b->flat_begin;
    });
    if (std::string fault = overlap_within(parts); !fault.empty()) return fault;
  }
  // Rectangles ascend by where they begin in the first dimension: only those that begin before this
  // one ends can meet it.
  for (auto a = rectangles.begin(); a != rectangles.end(); ++a) {
    for (auto b = std::next(a); b != rectangles.end(); ++b) {
      if (global_shape.rank() > 0 && b->first.first[0] >= a->first.first[0] + a->first.second[0]) {
        break;
      }
      if (std::string fault = overlap_between(a->second, b->second); !fault.empty()) return fault;
    }
  }
  if (held == global_shape.numel()) return "";
  return concat("the slices hold ", held, " of ", global_shape.numel(), " elements");
}

}  // namespace orthant
