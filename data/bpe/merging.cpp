// SPDX-License-Identifier: Apache-2.0
#include "data/bpe/merging.h"

#include <algorithm>
#include <functional>

namespace orthant {
namespace {

// Up to here looking at every pair for each merge is faster than a queue.
constexpr size_t kShort = 40;

void merge_short(const MergeTable& table, std::vector<int32_t>& tokens, MergeScratch& scratch) {
  std::vector<MergeTable::Merge>& merges = scratch.merges;  // of each token and the one behind it
  std::vector<uint32_t>& begins = scratch.begins;
  const bool has_begins = begins.size() == tokens.size();
  merges.resize(tokens.size() - 1);
  for (size_t i = 0; i < merges.size(); ++i) merges[i] = table.find(tokens[i], tokens[i + 1]);
  while (!merges.empty()) {
    size_t best = 0;
    for (size_t i = 1; i < merges.size(); ++i)
      if (merges[i].rank < merges[best].rank) best = i;
    if (merges[best].rank == MergeTable::kNoRank) return;
    tokens[best] = merges[best].token;
    tokens.erase(tokens.begin() + static_cast<std::ptrdiff_t>(best) + 1);
    if (has_begins) begins.erase(begins.begin() + static_cast<std::ptrdiff_t>(best) + 1);
    merges.erase(merges.begin() + static_cast<std::ptrdiff_t>(best));
    if (best > 0) merges[best - 1] = table.find(tokens[best - 1], tokens[best]);
    if (best < merges.size()) merges[best] = table.find(tokens[best], tokens[best + 1]);
  }
}

// A list of tokens, of which each pair that can join waits in a queue by (rank, place).  A pair
// that was changed meanwhile is left out when its turn comes: its rank is another one.
class LongMerge {
 public:
  LongMerge(const MergeTable& table, std::vector<int32_t>& tokens, MergeScratch& scratch)
      : table_(table), tokens_(tokens), s_(scratch), end_(static_cast<uint32_t>(tokens.size())) {}

  void run() {
    s_.next.resize(end_);
    s_.previous.resize(end_);
    s_.queue.clear();
    for (uint32_t i = 0; i < end_; ++i) {
      s_.next[i] = i + 1;
      s_.previous[i] = i == 0 ? end_ : i - 1;
    }
    for (uint32_t i = 0; i + 1 < end_; ++i) {
      const uint32_t rank = table_.find(tokens_[i], tokens_[i + 1]).rank;
      if (rank != MergeTable::kNoRank) s_.queue.push_back(uint64_t{rank} << 32 | i);
    }
    std::make_heap(s_.queue.begin(), s_.queue.end(), std::greater<>());
    while (!s_.queue.empty()) {
      std::pop_heap(s_.queue.begin(), s_.queue.end(), std::greater<>());
      const uint64_t first = s_.queue.back();
      s_.queue.pop_back();
      join(static_cast<uint32_t>(first >> 32), static_cast<uint32_t>(first));
    }
    size_t size = 0;
    const bool has_begins = s_.begins.size() == end_;
    for (uint32_t i = 0; i < end_; i = s_.next[i], ++size) {
      tokens_[size] = tokens_[i];
      if (has_begins) s_.begins[size] = s_.begins[i];
    }
    tokens_.resize(size);
    if (has_begins) s_.begins.resize(size);
  }

 private:
  void push(uint32_t i) {
    if (i >= end_ || s_.next[i] >= end_) return;
    const uint32_t rank = table_.find(tokens_[i], tokens_[s_.next[i]]).rank;
    if (rank == MergeTable::kNoRank) return;
    s_.queue.push_back(uint64_t{rank} << 32 | i);
    std::push_heap(s_.queue.begin(), s_.queue.end(), std::greater<>());
  }

  void join(uint32_t rank, uint32_t i) {
    if (tokens_[i] < 0 || s_.next[i] >= end_) return;
    const uint32_t gone = s_.next[i];
    const MergeTable::Merge merge = table_.find(tokens_[i], tokens_[gone]);
    if (merge.rank != rank) return;
    tokens_[i] = merge.token;
    tokens_[gone] = -1;
    s_.next[i] = s_.next[gone];
    if (s_.next[i] < end_) s_.previous[s_.next[i]] = i;
    push(s_.previous[i]);
    push(i);
  }

  const MergeTable& table_;
  std::vector<int32_t>& tokens_;
  MergeScratch& s_;
  const uint32_t end_;
};

}  // namespace

void merge_tokens(const MergeTable& table, std::vector<int32_t>& tokens, MergeScratch& scratch) {
  if (tokens.size() < 2) return;
  if (tokens.size() <= kShort) return merge_short(table, tokens, scratch);
  LongMerge(table, tokens, scratch).run();
}

}  // namespace orthant
