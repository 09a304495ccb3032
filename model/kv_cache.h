// SPDX-License-Identifier: Apache-2.0
// Decoding: what a stage of the model remembers of the sequences of a batch, each with its own
// length, and the tokens that come next.
//
// What a layer remembers of a token is a row.  Rows stand in pages of 64, which come when tokens
// come and go when no later token can see them: memory is that of the tokens, and at most a page of
// each sequence.  Sequences with the same beginning share its pages until one of them writes there.
#pragma once

#include <algorithm>
#include <cstdint>
#include <memory>
#include <span>
#include <vector>

#include "model/config.h"
#include "moe/moe_layer.h"
#include "parallel/rank_groups.h"
#include "tensor/backend.h"

namespace orthant {

// The next tokens of a sequence; none: it waits.
struct NewTokens {
  std::vector<int32_t> ids;
  bool of_prompt = false;  // a latent cache is attended to in its naive form
  bool wants_logits = true;
  int64_t adapter = -1;  // number among those that the model has by name; -1: none

  NewTokens() = default;
  NewTokens(std::vector<int32_t> ids) : ids(std::move(ids)) {}  // NOLINT: a list of tokens
  NewTokens(std::initializer_list<int32_t> list) : ids(list) {}
  int64_t size() const { return std::ssize(ids); }
};
// By place of the cache.
using NextTokens = std::vector<NewTokens>;

class KvCache;

// What layers need to know of new tokens: made once a stage, on the host.  Row after row they are
// those of the first sequence, of the second, ...  Every context-parallel rank works on all of
// them.
struct DecodeStep {
  // Error(kInternal) where a sequence gets longer than `longest`.
  DecodeStep(const NextTokens& next, const KvCache& cache, int64_t longest, const RankGroups& ranks,
             Device device);

  // A sequence's new tokens: `count` rows from `row` on, the first at position `start`.
  struct Part {
    size_t place = 0;
    int64_t row = 0, count = 0, start = 0;
    bool of_prompt = false;
    int64_t adapter = -1;
    int64_t end() const { return start + count; }
  };
  std::vector<Part> parts;
  LatentForm latent;
  Tensor ids;        // i32 [N], on the host
  Tensor positions;  // i32 [N]
  MoeContext moe;

  int64_t num_tokens() const { return ids.numel(); }
};

// What a layer keeps of a token: parts, each so wide for every one of its heads.
struct CacheRow {
  struct Part {
    int64_t heads = 1, width = 0;
    bool transposed = false;  // a head's columns side by side in a page, not its rows
  };
  std::vector<Part> parts;
  DType dtype = DType::kF32;
  Device device = {};
  int64_t window = 0;  // a token sees itself and so many less one before it; 0: all

  int64_t width() const;  // of all
};

// Of one layer.
class LayerCache {
 public:
  static constexpr int64_t kPageRows = 64;
  // Part by part and head by head, [kPageRows, width of a head] each, or transposed.
  using Page = std::shared_ptr<const Tensor>;
  struct Pages {
    int64_t first = 0;  // number of the first one that is there
    std::vector<Page> pages;
  };

  LayerCache(const CacheRow& row, size_t places) : row_(row), of_(places) {}

  // Makes room for a step's new tokens, and gives back what neither they nor later ones see.
  void extend(const DecodeStep& step);
  // Columns from `begin` on of all rows of x, `width` for every head, into a part's columns from
  // `column` on, for the new tokens.
  struct Columns {
    int64_t begin = 0, width = 0;
    size_t part = 0;
    int64_t column = 0;
  };
  void put(const DecodeStep& step, const Tensor& x, const Columns& columns);

  // A part's first head in a page, whole as it stands there; elements from a head to the next.
  View first_head(const Tensor& page, size_t part) const;
  int64_t head_step(size_t part) const { return row_.parts[part].width * kPageRows; }

  // The rows of a sequence up to its last new token, from `first` on, as one tensor, where a row is
  // one part of one head.
  struct Gathered {
    int64_t first = 0;  // position
    Tensor rows;
  };
  Gathered gather(const DecodeStep::Part& part) const;
  // The tables of paged_attention for consecutive parts, whose first row becomes row 0.
  struct Table {
    Tensor page;              // one of them
    Tensor sequences, pages;  // i64
  };
  Table table(std::span<const DecodeStep::Part> parts) const;

  // What an attention of two forms found of them: the largest difference, relative to the largest
  // entry of its call.
  void note_difference(double difference) { difference_ = std::max(difference_, difference); }
  double difference() const { return difference_; }

  const CacheRow& row() const { return row_; }
  Pages& of(size_t place) { return of_[place]; }
  const Pages& of(size_t place) const { return of_[place]; }

 private:
  void make_room(const DecodeStep::Part& part);
  void put_in_page(const Tensor& x, const Tensor& page, int64_t row, const Columns& columns) const;
  const Tensor& page_at(const Pages& pages, int64_t position) const {
    return *pages.pages[static_cast<size_t>(position / kPageRows - pages.first)];
  }

  CacheRow row_;
  std::vector<Pages> of_;  // by place
  double difference_ = 0;
};

// Of a stage, with places for so many sequences.
class KvCache {
 public:
  KvCache(const std::vector<CacheRow>& rows, size_t places, LatentForm latent);

  LatentForm latent() const { return latent_; }
  size_t places() const { return lengths_.size(); }
  int64_t length(size_t place) const { return lengths_[place]; }
  LayerCache& layer(size_t layer) { return layers_[layer]; }
  double difference() const;  // LayerCache::difference, the largest
  // The step went through all layers.
  void end_step(const DecodeStep& step);
  void clear(size_t place);

  // What a sequence has now: others can begin with it.
  struct Kept {
    int64_t length = 0;
    std::vector<LayerCache::Pages> layers;
  };
  Kept keep(size_t place) const;
  // The place gets the first `length` tokens, at most one less than there are: of windows no more
  // is left than later tokens see.
  void put(size_t place, const Kept& kept, int64_t length);

 private:
  LatentForm latent_;
  std::vector<int64_t> lengths_;  // by place: tokens that are there
  std::vector<LayerCache> layers_;
};

// Of N new tokens.
TokenRows decode_rows(const RankGroups& ranks, int64_t num_tokens);
int64_t count_tokens(const NextTokens& next);

}  // namespace orthant
