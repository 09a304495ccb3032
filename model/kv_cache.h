// SPDX-License-Identifier: Apache-2.0
// Decoding: what a stage of the model remembers of the sequences of a batch, each with its own
// length, and the tokens that come next.
#pragma once

#include <cstdint>
#include <memory>
#include <vector>

#include "model/config.h"
#include "moe/moe_layer.h"
#include "parallel/rank_groups.h"

namespace orthant {

// Of one layer; what is in it is the attention's.
struct LayerCache {
  virtual ~LayerCache() = default;
};

struct KvCache {
  struct Sequence {
    int64_t row = 0, capacity = 0;  // its rows in every layer's cache
    int64_t length = 0;             // tokens that are there
  };
  std::vector<Sequence> sequences;
  std::vector<std::unique_ptr<LayerCache>> layers;  // of the stage
  LatentForm latent = LatentForm::kNaive;
};

// By sequence of the cache, its next tokens; none: it waits.
using NewTokens = std::vector<std::vector<int32_t>>;

// What layers need to know of new tokens: made once a stage, on the host.  Row after row they are
// those of the first sequence, of the second, ...  Every context-parallel rank works on all of
// them.
struct DecodeStep {
  // Error(kInternal) where a sequence gets more tokens than its cache has room for.
  DecodeStep(const NewTokens& next, const KvCache& cache, const RankGroups& ranks, Device device);

  // Sequences side by side that are alike: n x count rows from `row` on, behind `start` tokens
  // each, which stand in n x capacity rows of the cache from cache_row on.
  struct Run {
    int64_t n = 0, count = 0, start = 0, row = 0, cache_row = 0, capacity = 0;
  };
  std::vector<Run> runs;
  LatentForm latent;
  Tensor ids;        // i32 [N], on the host
  Tensor positions;  // i32 [N]
  MoeContext moe;

  int64_t num_tokens() const { return ids.numel(); }
};

// Of N new tokens.
TokenRows decode_rows(const RankGroups& ranks, int64_t num_tokens);
int64_t count_tokens(const NewTokens& next);

}  // namespace orthant
