// SPDX-License-Identifier: Apache-2.0
#include "trainer/whole_tensors.h"

#include <bit>
#include <cmath>
#include <sstream>

#include "base/error.h"

namespace orthant {
namespace {

// One line a piece: name, rank, then global shape, begin, shape, flat range.
std::string table_text(const std::vector<CheckpointTensor>& pieces) {
  std::ostringstream text;
  for (const CheckpointTensor& piece : pieces) {
    text << piece.name << ' ' << piece.shape.rank();
    for (int d = 0; d < piece.shape.rank(); ++d)
      text << ' ' << piece.global_shape[d] << ' ' << piece.begin[static_cast<size_t>(d)] << ' '
           << piece.shape[d];
    text << ' ' << piece.flat_begin << ' ' << piece.slice().numel() << '\n';
  }
  return text.str();
}

struct HeldPart {
  std::string name;
  Shape global_shape;
  TensorSlice slice;
};

std::vector<HeldPart> parse_table(const std::string& text) {
  std::vector<HeldPart> parts;
  std::istringstream in(text);
  HeldPart part;
  int rank = 0;
  while (in >> part.name >> rank) {
    part.global_shape = part.slice.shape = Shape();
    part.slice.begin.clear();
    for (int d = 0; d < rank; ++d) {
      int64_t global = 0, begin = 0, size = 0;
      in >> global >> begin >> size;
      part.global_shape.push_back(global);
      part.slice.begin.push_back(begin);
      part.slice.shape.push_back(size);
    }
    in >> part.slice.flat_begin >> part.slice.flat_size;
    parts.push_back(part);
  }
  return parts;
}

// A whole tensor that is being put together.
struct Whole {
  std::vector<double> values;
  std::vector<int> from;  // rank that gave each element, -1: none yet
};

void place(Whole& whole, const HeldPart& piece, const double* data, int rank) {
  const auto numel = static_cast<size_t>(piece.global_shape.numel());
  whole.values.resize(numel);
  whole.from.resize(numel, -1);
  const TensorSlice slices[] = {piece.slice};
  for (const SliceCopy& run : plan_copies(slices, whole_slice(piece.global_shape))) {
    for (int64_t i = 0; i < run.length; ++i) {
      const auto at = static_cast<size_t>(run.to_offset + i);
      const double value = data[run.from_offset + i];
      const bool same = std::bit_cast<uint64_t>(value) == std::bit_cast<uint64_t>(whole.values[at]);
      ORTHANT_CHECK(whole.from[at] < 0 || same, kNumeric, piece.name, "[", at, "]: rank ",
                    whole.from[at], " holds ", whole.values[at], ", rank ", rank, " holds ", value);
      whole.values[at] = value;
      whole.from[at] = rank;
    }
  }
}

}  // namespace

NamedValues gather_whole(const Group& group, const std::vector<CheckpointTensor>& pieces) {
  std::vector<double> own;
  for (const CheckpointTensor& piece : pieces) {
    const std::vector<double> values = piece.data.to_doubles();
    own.insert(own.end(), values.begin(), values.end());
  }
  const std::vector<std::string> tables = group.gather_text(table_text(pieces));
  std::vector<int64_t> counts;
  int64_t total = 0;
  std::vector<std::vector<HeldPart>> parsed;
  for (const std::string& table : tables) {
    counts.push_back(0);
    for (const HeldPart& piece : parsed.emplace_back(parse_table(table)))
      counts.back() += piece.slice.numel();
    total += counts.back();
  }
  const Tensor all = Tensor::empty({total}, DType::kF64);
  group.all_gather(Tensor::from({static_cast<int64_t>(own.size())}, own, DType::kF64), all, counts)
      .wait();
  std::map<std::string, Whole> wholes;
  const double* next = all.as<double>();
  for (size_t rank = 0; rank < parsed.size(); ++rank) {
    for (const HeldPart& piece : parsed[rank]) {
      place(wholes[piece.name], piece, next, static_cast<int>(rank));
      next += piece.slice.numel();
    }
  }
  NamedValues result;
  for (auto& [name, whole] : wholes) {
    for (size_t i = 0; i < whole.from.size(); ++i)
      ORTHANT_CHECK(whole.from[i] >= 0, kInternal, name, "[", i, "]: no rank holds it");
    result[name] = std::move(whole.values);
  }
  return result;
}

}  // namespace orthant
