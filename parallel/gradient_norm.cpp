// SPDX-License-Identifier: Apache-2.0
#include "parallel/gradient_norm.h"

#include <algorithm>
#include <cmath>
#include <numeric>

#include "tensor/ops/elementwise.h"

namespace orthant {

GradientNorm::GradientNorm(const GradientBuffers& gradients) {
  for (const bool expert : {false, true}) {
    Exchange exchange;
    for (size_t b = 0; b < gradients.buckets().size(); ++b) {
      const Bucket& bucket = gradients.buckets()[b];
      if (bucket.expert == expert) add_bucket(b, bucket, exchange);
    }
    if (!exchange.pieces.empty()) exchanges_.push_back(std::move(exchange));
  }
  by_name_.resize(names_.size());
  std::iota(by_name_.begin(), by_name_.end(), size_t{0});
  std::sort(by_name_.begin(), by_name_.end(),
            [this](size_t a, size_t b) { return names_[a] < names_[b]; });
}

void GradientNorm::add_bucket(size_t index, const Bucket& bucket, Exchange& exchange) {
  const auto ranks = static_cast<size_t>(bucket.group.size());
  exchange.group = bucket.group;
  exchange.pieces.resize(ranks);
  exchange.num_blocks.resize(ranks, 0);
  for (const Bucket::Member& member : bucket.members) {
    // A tied head's gradient has been added to the lookup's; its table is empty.
    for (const LogicalTensor& logical : member.parameter->logical()) {
      for (size_t r = 0; r < ranks; ++r) {
        const Piece piece{
            index,
            intersection(Bucket::range_of(member, logical), bucket.slice(static_cast<int>(r))),
            names_.size()};
        if (piece.range.empty()) continue;
        exchange.pieces[r].push_back(piece);
        exchange.num_blocks[r] += piece.num_blocks();
      }
      names_.push_back(logical.name);
    }
  }
}

double GradientNorm::norm(const GradientBuffers& gradients, double grad_scale) const {
  std::vector<double> squares(names_.size(), 0.0);  // by logical tensor
  for (const Exchange& exchange : exchanges_) {
    std::vector<double> own;
    for (const Piece& piece : exchange.pieces[static_cast<size_t>(exchange.group.rank())]) {
      const Tensor sums = ops::sum_squares(gradients.sum_of(piece.bucket, piece.range));
      const std::vector<double> blocks = sums.to_doubles();
      own.insert(own.end(), blocks.begin(), blocks.end());
    }
    const int64_t total =
        std::accumulate(exchange.num_blocks.begin(), exchange.num_blocks.end(), int64_t{0});
    const Tensor all = Tensor::empty({total}, DType::kF64);
    exchange.group
        .all_gather(Tensor::from({std::ssize(own)}, own, DType::kF64), all, exchange.num_blocks)
        .wait();
    // Slices ascend with the ranks: a tensor's blocks come in their order.
    const double* block = all.as<double>();
    for (const std::vector<Piece>& pieces : exchange.pieces) {
      for (const Piece& piece : pieces) {
        for (int64_t i = 0; i < piece.num_blocks(); ++i) squares[piece.tensor] += *block++;
      }
    }
  }
  double total = 0;
  for (const size_t tensor : by_name_) total += squares[tensor];
  return std::sqrt(total) * grad_scale;
}

}  // namespace orthant
