// SPDX-License-Identifier: Apache-2.0
#include "parallel/gradient_norm.h"

#include <algorithm>
#include <cmath>
#include <map>
#include <numeric>
#include <set>
#include <sstream>

#include "base/error.h"
#include "tensor/ops/elementwise.h"

namespace orthant {
namespace {

// "model.norm.weight 0": the name, then where the rectangle begins.  No two begin at one place:
// empty ones, where a dimension is smaller than the number of ranks that cut it, have no key.
std::string key_of(const LogicalTensor& logical) {
  std::string key = logical.name;
  for (const int64_t begin : logical.begin) key += concat(" ", begin);
  return key;
}

std::string name_in(const std::string& key) { return key.substr(0, key.find(' ')); }

}  // namespace

GradientNorm::GradientNorm(const GradientBuffers& gradients, const Group& model) : model_(model) {
  for (size_t b = 0; b < gradients.buckets().size(); ++b) add_bucket(b, gradients.buckets()[b]);
  share_out();
}

void GradientNorm::add_bucket(size_t index, const Bucket& bucket) {
  const auto ranks = static_cast<size_t>(bucket.group.size());
  auto exchange = std::find_if(exchanges_.begin(), exchanges_.end(), [&](const Exchange& e) {
    return e.group.impl() == bucket.group.impl();
  });
  if (exchange == exchanges_.end()) {
    exchange = exchanges_.insert(exchanges_.end(), {.group = bucket.group});
    exchange->pieces.resize(ranks);
    exchange->num_blocks.resize(ranks, 0);
  }
  for (const Bucket::Member& member : bucket.members) {
    // A tie's gradient has been added to that of the first use; its table is empty.
    for (const LogicalTensor& logical : member.use->logical()) {
      if (logical.shape.numel() == 0) continue;
      for (size_t r = 0; r < ranks; ++r) {
        const Piece piece{
            index,
            intersection(Bucket::range_of(member, logical), bucket.slice(static_cast<int>(r))),
            rectangles_.size()};
        if (piece.range.empty()) continue;
        exchange->pieces[r].push_back(piece);
        exchange->num_blocks[r] += piece.num_blocks();
      }
      rectangles_.push_back(key_of(logical));
    }
  }
}

// All ranks agree on who tells what, and on one order of all names.
void GradientNorm::share_out() {
  std::string own;
  for (const std::string& key : rectangles_) own += key + "\n";
  std::map<std::string, size_t> names;
  std::set<std::string> told;
  std::vector<std::vector<std::string>> told_keys;  // by rank
  for (const std::string& text : model_.gather_text(own)) {
    std::istringstream lines(text);
    std::vector<std::string>& keys = told_keys.emplace_back();
    for (std::string key; std::getline(lines, key);) {
      names[name_in(key)] = 0;
      if (told.insert(key).second) keys.push_back(key);
    }
  }
  for (auto& [name, place] : names) place = num_names_++;
  for (const std::vector<std::string>& keys : told_keys) {
    std::vector<size_t>& places = told_names_.emplace_back();
    for (const std::string& key : keys) places.push_back(names.at(name_in(key)));
  }
  std::map<std::string, size_t> index;
  for (size_t i = 0; i < rectangles_.size(); ++i) index[rectangles_[i]] = i;
  for (const std::string& key : told_keys[static_cast<size_t>(model_.rank())])
    told_.push_back(index.at(key));
}

std::vector<double> GradientNorm::squares_by_rectangle(const GradientBuffers& gradients) const {
  std::vector<double> squares(rectangles_.size(), 0.0);
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
    // Slices ascend with the ranks: a rectangle's blocks come in their order.
    const double* block = all.as<double>();
    for (const std::vector<Piece>& pieces : exchange.pieces) {
      for (const Piece& piece : pieces) {
        for (int64_t i = 0; i < piece.num_blocks(); ++i) squares[piece.rectangle] += *block++;
      }
    }
  }
  return squares;
}

double GradientNorm::norm(const GradientBuffers& gradients, double grad_scale) const {
  const std::vector<double> squares = squares_by_rectangle(gradients);
  std::vector<double> own;
  for (const size_t rectangle : told_) own.push_back(squares[rectangle]);
  std::vector<int64_t> counts;
  for (const std::vector<size_t>& names : told_names_) counts.push_back(std::ssize(names));
  const Tensor all =
      Tensor::empty({std::accumulate(counts.begin(), counts.end(), int64_t{0})}, DType::kF64);
  model_.all_gather(Tensor::from({std::ssize(own)}, own, DType::kF64), all, counts).wait();
  // Rectangles of one tensor are added in the order of the ranks that tell them.
  std::vector<double> sums(num_names_, 0.0);
  const double* square = all.as<double>();
  for (const std::vector<size_t>& names : told_names_) {
    for (const size_t name : names) sums[name] += *square++;
  }
  double total = 0;
  for (const double sum : sums) total += sum;
  return std::sqrt(total) * grad_scale;
}

}  // namespace orthant
