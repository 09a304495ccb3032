// SPDX-License-Identifier: Apache-2.0
#include "model/kv_cache.h"

#include "base/error.h"
#include "model/pass.h"

namespace orthant {

TokenRows decode_rows(const RankGroups& ranks, int64_t num_tokens) {
  return {Group::self(), ranks.tensor, ranks.tensor, 1, num_tokens};
}

int64_t count_tokens(const NewTokens& next) {
  int64_t tokens = 0;
  for (const std::vector<int32_t>& ids : next) tokens += std::ssize(ids);
  return tokens;
}

namespace {

bool continues(const DecodeStep::Run& run, const DecodeStep::Run& next) {
  return next.count == run.count && next.start == run.start && next.capacity == run.capacity &&
         next.cache_row == run.cache_row + run.n * run.capacity;
}

}  // namespace

DecodeStep::DecodeStep(const NewTokens& next, const KvCache& cache, const RankGroups& ranks,
                       Device device)
    : latent(cache.latent) {
  ORTHANT_CHECK(next.size() == cache.sequences.size(), kInternal, "decode: the cache has ",
                cache.sequences.size(), " sequences, got tokens of ", next.size());
  std::vector<int32_t> all, places;
  for (size_t b = 0; b < next.size(); ++b) {
    const KvCache::Sequence& sequence = cache.sequences[b];
    const int64_t count = std::ssize(next[b]);
    ORTHANT_CHECK(sequence.length + count <= sequence.capacity, kInternal, "decode: sequence ", b,
                  " has room for ", sequence.capacity, " tokens, want ", sequence.length + count);
    if (count == 0) continue;
    const Run run{.n = 1,
                  .count = count,
                  .start = sequence.length,
                  .row = std::ssize(all),
                  .cache_row = sequence.row,
                  .capacity = sequence.capacity};
    if (!runs.empty() && continues(runs.back(), run)) {
      ++runs.back().n;
    } else {
      runs.push_back(run);
    }
    all.insert(all.end(), next[b].begin(), next[b].end());
    for (int64_t i = 0; i < count; ++i) places.push_back(static_cast<int32_t>(sequence.length + i));
  }
  ids = Tensor::from_i32({std::ssize(all)}, all);
  positions = Tensor::from_i32({std::ssize(places)}, places, device);
  moe = make_moe_context(decode_rows(ranks, num_tokens()), all, device);
  moe.counts = false;
}

}  // namespace orthant
