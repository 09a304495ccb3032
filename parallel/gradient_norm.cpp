// SPDX-License-Identifier: Apache-2.0
#include "parallel/gradient_norm.h"

#include <cmath>
#include <map>
#include <numeric>
#include <span>
#include <sstream>

#include "tensor/ops/elementwise.h"

namespace orthant {

GradientNorm::GradientNorm(const GradientBuffers& gradients, const Group& experts)
    : experts_(experts) {
  for (const bool expert : {false, true}) {
    if (expert) num_dense_ = names_.size();
    Exchange exchange;
    for (size_t b = 0; b < gradients.buckets().size(); ++b) {
      const Bucket& bucket = gradients.buckets()[b];
      if (bucket.expert == expert) add_bucket(b, bucket, exchange);
    }
    if (!exchange.pieces.empty()) exchanges_.push_back(std::move(exchange));
  }
  order_by_name();
}

// All ranks agree on one order of all names.
void GradientNorm::order_by_name() {
  std::string own;
  for (size_t i = num_dense_; i < names_.size(); ++i) own += names_[i] + "\n";
  std::vector<std::string> gathered;
  for (const std::string& text : experts_.gather_text(own)) {
    std::istringstream lines(text);
    for (std::string name; std::getline(lines, name);) gathered.push_back(name);
  }
  std::map<std::string, size_t> positions;
  for (const std::string& name : gathered) positions[name] = 0;
  for (size_t i = 0; i < num_dense_; ++i) positions[names_[i]] = 0;
  for (auto& [name, position] : positions) position = num_positions_++;
  for (size_t i = 0; i < num_dense_; ++i) dense_positions_.push_back(positions.at(names_[i]));
  for (const std::string& name : gathered) expert_positions_.push_back(positions.at(name));
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

std::vector<double> GradientNorm::squares_by_tensor(const GradientBuffers& gradients) const {
  std::vector<double> squares(names_.size(), 0.0);
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
  return squares;
}

double GradientNorm::norm(const GradientBuffers& gradients, double grad_scale) const {
  const std::vector<double> squares = squares_by_tensor(gradients);
  std::vector<double> sums(num_positions_, 0.0);
  for (size_t i = 0; i < num_dense_; ++i) sums[dense_positions_[i]] = squares[i];
  const std::span<const double> own = std::span(squares).subspan(num_dense_);
  const Tensor all = Tensor::empty({std::ssize(expert_positions_)}, DType::kF64);
  experts_.all_gather(Tensor::from({std::ssize(own)}, own, DType::kF64), all).wait();
  // Expert-tensor ranks hold parts of the same tensor: added in the order of ranks.
  for (size_t i = 0; i < expert_positions_.size(); ++i)
    sums[expert_positions_[i]] += all.as<double>()[i];
  double total = 0;
  for (const double sum : sums) total += sum;
  return std::sqrt(total) * grad_scale;
}

}  // namespace orthant
