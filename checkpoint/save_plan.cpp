// SPDX-License-Identifier: Apache-2.0
#include "checkpoint/save_plan.h"

#include <algorithm>
#include <map>
#include <sstream>

#include "base/error.h"

namespace orthant {
namespace {

// A slice and the ranks that hold it.
struct Holders {
  size_t tensor = 0;
  TensorSlice slice;
  std::vector<int64_t> ranks;  // ascending
  int64_t bytes = 0;
};

// Orders slices of one tensor by place.
using SliceOrder = std::tuple<std::vector<int64_t>, std::vector<int64_t>, int64_t, int64_t>;
SliceOrder order_of(const TensorSlice& slice) {
  return {slice.begin, {slice.shape.begin(), slice.shape.end()}, slice.flat_begin, slice.numel()};
}

std::string dims_text(const Shape& shape) {
  std::string text = std::to_string(shape.rank());
  for (const int64_t dim : shape) text += concat(" ", dim);
  return text;
}

Shape read_dims(std::istream& in) {
  int rank = 0;
  in >> rank;
  Shape shape;
  for (int d = 0; d < rank; ++d) {
    int64_t dim = 0;
    in >> dim;
    shape.push_back(dim);
  }
  return shape;
}

struct Line {
  std::string name;
  int dtype = 0;
  Shape global_shape;
  TensorSlice slice;
};

bool read_line(std::istream& in, Line& line) {
  if (!(in >> line.name >> line.dtype)) return false;
  line.global_shape = read_dims(in);
  const Shape begin = read_dims(in);
  line.slice.begin.assign(begin.begin(), begin.end());
  line.slice.shape = read_dims(in);
  in >> line.slice.flat_begin >> line.slice.flat_size;
  return true;
}

class PlanBuilder {
 public:
  void add(int64_t rank, const Line& line) {
    const auto [at, is_new] = index_.try_emplace(line.name, Entry{});
    Entry& entry = at->second;
    if (is_new) {
      entry.tensor = {line.name, static_cast<DType>(line.dtype), line.global_shape, {}};
      entry.first_rank = rank;
    }
    ORTHANT_CHECK(static_cast<int>(entry.tensor.dtype) == line.dtype &&
                      entry.tensor.global_shape == line.global_shape,
                  kInternal, "checkpoint: tensor ", line.name, ": rank ", entry.first_rank, " has ",
                  name_of(entry.tensor.dtype), " ", entry.tensor.global_shape.text(), ", rank ",
                  rank, " has ", name_of(static_cast<DType>(line.dtype)), " ",
                  line.global_shape.text());
    if (line.slice.numel() == 0) return;
    Holders& holders = entry.slices[order_of(line.slice)];
    holders.slice = line.slice;
    if (holders.ranks.empty() || holders.ranks.back() != rank) holders.ranks.push_back(rank);
  }

  std::vector<ManifestTensor> build(size_t num_ranks) {
    std::vector<ManifestTensor> plan;
    std::vector<Holders> all;
    for (auto& [name, entry] : index_) {
      std::vector<TensorSlice> slices;
      for (auto& [order, holders] : entry.slices) {
        holders.tensor = plan.size();
        holders.bytes = holders.slice.numel() * size_of(entry.tensor.dtype);
        slices.push_back(holders.slice);
        all.push_back(holders);
      }
      const std::string fault = coverage_fault(entry.tensor.global_shape, slices);
      ORTHANT_CHECK(fault.empty(), kInternal, "checkpoint: tensor ", name, " ",
                    entry.tensor.global_shape.text(), ": ", fault);
      plan.push_back(std::move(entry.tensor));
    }
    assign(all, num_ranks, plan);
    return plan;
  }

 private:
  struct Entry {
    ManifestTensor tensor;
    int64_t first_rank = 0;
    std::map<SliceOrder, Holders> slices;
  };

  static void assign(const std::vector<Holders>& all, size_t num_ranks,
                     std::vector<ManifestTensor>& plan) {
    std::vector<size_t> largest_first(all.size());
    for (size_t i = 0; i < all.size(); ++i) largest_first[i] = i;
    // Slices of one holder first: nothing is left to choose for them.
    std::stable_sort(largest_first.begin(), largest_first.end(), [&](size_t a, size_t b) {
      const bool fixed_a = all[a].ranks.size() == 1, fixed_b = all[b].ranks.size() == 1;
      return fixed_a != fixed_b ? fixed_a : all[a].bytes > all[b].bytes;
    });
    std::vector<int64_t> load(num_ranks, 0), owner(all.size(), 0);
    for (const size_t i : largest_first) {
      owner[i] =
          *std::min_element(all[i].ranks.begin(), all[i].ranks.end(), [&](int64_t a, int64_t b) {
            return load[static_cast<size_t>(a)] < load[static_cast<size_t>(b)];
          });
      load[static_cast<size_t>(owner[i])] += all[i].bytes;
    }
    for (size_t i = 0; i < all.size(); ++i) {
      plan[all[i].tensor].slices.push_back({owner[i], all[i].slice, ""});
    }
  }

  std::map<std::string, Entry> index_;  // by name
};

}  // namespace

std::string slice_table_text(std::span<const CheckpointTensor> tensors) {
  std::string text;
  for (const CheckpointTensor& tensor : tensors) {
    const TensorSlice slice = tensor.slice();
    ORTHANT_CHECK(is_manifest_name(tensor.name), kInternal, "checkpoint: tensor name '",
                  tensor.name, "': want letters, digits, '.', '_' and '-' only");
    const std::string fault = slice_fault(tensor.global_shape, slice);
    ORTHANT_CHECK(fault.empty(), kInternal, "checkpoint: tensor ", tensor.name, ": ", fault);
    ORTHANT_CHECK(tensor.data.defined() && tensor.data.numel() == slice.numel(), kInternal,
                  "checkpoint: tensor ", tensor.name, ": slice ", slice.text(), " has ",
                  slice.numel(), " elements, its data is ", describe(tensor.data));
    text += concat(tensor.name, " ", static_cast<int>(tensor.data.dtype()), " ",
                   dims_text(tensor.global_shape), " ",
                   dims_text(Shape(slice.begin.begin(), slice.begin.end())), " ",
                   dims_text(slice.shape), " ", slice.flat_begin, " ", slice.numel(), "\n");
  }
  return text;
}

std::vector<ManifestTensor> make_save_plan(std::span<const std::string> tables) {
  PlanBuilder builder;
  for (size_t rank = 0; rank < tables.size(); ++rank) {
    std::istringstream in(tables[rank]);
    Line line;
    while (read_line(in, line)) builder.add(static_cast<int64_t>(rank), line);
  }
  return builder.build(tables.size());
}

std::vector<ShardItem> shard_items(const std::vector<ManifestTensor>& plan, int64_t rank) {
  std::vector<ShardItem> items;
  for (size_t t = 0; t < plan.size(); ++t) {
    for (size_t s = 0; s < plan[t].slices.size(); ++s) {
      if (plan[t].slices[s].file == rank) items.push_back({t, s});
    }
  }
  std::stable_sort(items.begin(), items.end(), [&](const ShardItem& a, const ShardItem& b) {
    return size_of(plan[a.tensor].dtype) > size_of(plan[b.tensor].dtype);
  });
  return items;
}

}  // namespace orthant
