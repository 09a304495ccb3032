// SPDX-License-Identifier: Apache-2.0
#include "model/kv_cache.h"

#include <algorithm>

#include "base/context.h"
#include "base/error.h"
#include "model/pass.h"
#include "tensor/ops/call.h"

namespace orthant {

TokenRows decode_rows(const RankGroups& ranks, int64_t num_tokens) {
  return {Group::self(), ranks.tensor, ranks.tensor, 1, num_tokens};
}

int64_t count_tokens(const NextTokens& next) {
  int64_t tokens = 0;
  for (const NewTokens& of : next) tokens += of.size();
  return tokens;
}

DecodeStep::DecodeStep(const NextTokens& next, const KvCache& cache, int64_t longest,
                       const RankGroups& ranks, Device device)
    : latent(cache.latent()) {
  ORTHANT_CHECK(next.size() == cache.places(), kInternal, "decode: the cache has ", cache.places(),
                " places, got tokens of ", next.size());
  std::vector<int32_t> all, places;
  for (size_t b = 0; b < next.size(); ++b) {
    if (next[b].size() == 0) continue;
    const Part part{
        b, std::ssize(all), next[b].size(), cache.length(b), next[b].of_prompt, next[b].adapter};
    ORTHANT_CHECK(part.end() <= longest, kInternal, "decode: sequence ", b, " would have ",
                  part.end(), " tokens, the model takes ", longest);
    parts.push_back(part);
    all.insert(all.end(), next[b].ids.begin(), next[b].ids.end());
    for (int64_t i = part.start; i < part.end(); ++i) places.push_back(static_cast<int32_t>(i));
  }
  ids = Tensor::from_i32({std::ssize(all)}, all);
  positions = Tensor::from_i32({std::ssize(places)}, places, device);
  moe = make_moe_context(decode_rows(ranks, num_tokens()), all, device);
  moe.counts = false;
}

int64_t CacheRow::width() const {
  int64_t sum = 0;
  for (const Part& part : parts) sum += part.heads * part.width;
  return sum;
}

void LayerCache::extend(const DecodeStep& step) {
  const CategoryScope category(MemoryCategory::kCache);
  for (const DecodeStep::Part& part : step.parts) make_room(part);
}

void LayerCache::make_room(const DecodeStep::Part& part) {
  Pages& own = of_[part.place];
  if (row_.window > 0) {
    const int64_t seen = std::max<int64_t>(0, part.start - row_.window + 1) / kPageRows;
    const int64_t gone = std::clamp<int64_t>(seen - own.first, 0, std::ssize(own.pages));
    own.pages.erase(own.pages.begin(), own.pages.begin() + gone);
    own.first += gone;
  }
  const auto new_page = [&] {
    return std::make_shared<const Tensor>(
        Tensor::empty({kPageRows * row_.width()}, row_.dtype, row_.device));
  };
  for (int64_t at = part.start / kPageRows; at * kPageRows < part.end(); ++at) {
    const auto index = static_cast<size_t>(at - own.first);
    if (index == own.pages.size()) {
      own.pages.push_back(new_page());
    } else if (own.pages[index].use_count() > 1) {
      const Page copied = new_page();
      copy(*own.pages[index], *copied);
      own.pages[index] = copied;
    }
  }
}

View LayerCache::first_head(const Tensor& page, size_t part) const {
  int64_t first = 0;
  for (size_t i = 0; i < part; ++i) first += row_.parts[i].heads * head_step(i);
  const int64_t width = row_.parts[part].width;
  return ops::view_of(
      page.flat(first, first + head_step(part))
          .view(row_.parts[part].transposed ? Shape{width, kPageRows} : Shape{kPageRows, width}));
}

void LayerCache::put(const DecodeStep& step, const Tensor& x, const Columns& columns) {
  for (const DecodeStep::Part& part : step.parts) {
    for (int64_t at = part.start; at < part.end();) {
      const int64_t stop = std::min(part.end(), (at / kPageRows + 1) * kPageRows);
      const int64_t row = part.row + at - part.start;
      put_in_page(x.slice(row, row + stop - at), page_at(of_[part.place], at), at % kPageRows,
                  columns);
      at = stop;
    }
  }
}

// Each column of a transposed part is a head of one element.
void LayerCache::put_in_page(const Tensor& x, const Tensor& page, int64_t row,
                             const Columns& columns) const {
  const CacheRow::Part& part = row_.parts[columns.part];
  const int64_t width = columns.width, size = size_of(row_.dtype);
  const int64_t row_step = part.transposed ? 1 : part.width;
  const int64_t column_step = part.transposed ? kPageRows : 1;
  View to = first_head(page, columns.part);
  to.data = static_cast<char*>(to.data) + (row * row_step + columns.column * column_step) * size;
  to.row_stride = row_step;
  to.shape[0] = x.dim(0), to.shape[1] = part.width;
  CopyHeadsArgs args{.x = ops::columns_of(x, columns.begin, columns.begin + part.heads * width),
                     .y = to,
                     .heads = part.heads,
                     .width = width,
                     .x_step = width,
                     .y_step = head_step(columns.part)};
  if (part.transposed)
    args.heads = part.heads * width, args.width = 1, args.x_step = 1, args.y_step = kPageRows;
  ops::call(&Backend::copy_heads, "cache", {&x, &page}, args);
}

LayerCache::Gathered LayerCache::gather(const DecodeStep::Part& part) const {
  const Pages& own = of_[part.place];
  const int64_t first = own.first * kPageRows, width = row_.width();
  const Tensor rows = Tensor::empty({part.end() - first, width}, row_.dtype, row_.device);
  for (size_t i = 0; i < own.pages.size(); ++i) {
    const int64_t at = static_cast<int64_t>(i) * kPageRows;
    const int64_t count = std::min(kPageRows, rows.dim(0) - at);
    copy(own.pages[i]->flat(0, count * width), rows.slice(at, at + count).view({count * width}));
  }
  return {first, rows};
}

LayerCache::Table LayerCache::table(std::span<const DecodeStep::Part> parts) const {
  std::vector<int64_t> sequences, pages;
  const Tensor& base = *of_[parts.front().place].pages.front();
  const auto address = [](const Tensor& page) { return static_cast<const char*>(page.data()); };
  for (const DecodeStep::Part& part : parts) {
    const Pages& own = of_[part.place];
    const int64_t values[] = {part.row - parts.front().row, part.count, part.start,
                              own.first * kPageRows, std::ssize(pages)};
    sequences.insert(sequences.end(), std::begin(values), std::end(values));
    for (const Page& page : own.pages) pages.push_back(address(*page) - address(base));
  }
  return {base, Tensor::from_i64({std::ssize(parts), 5}, sequences, row_.device),
          Tensor::from_i64({std::ssize(pages)}, pages, row_.device)};
}

KvCache::KvCache(const std::vector<CacheRow>& rows, size_t places, LatentForm latent)
    : latent_(latent), lengths_(places) {
  for (const CacheRow& row : rows) layers_.emplace_back(row, places);
}

void KvCache::end_step(const DecodeStep& step) {
  for (const DecodeStep::Part& part : step.parts) lengths_[part.place] = part.end();
}

double KvCache::difference() const {
  double largest = 0;
  for (const LayerCache& layer : layers_) largest = std::max(largest, layer.difference());
  return largest;
}

void KvCache::clear(size_t place) {
  lengths_[place] = 0;
  for (LayerCache& layer : layers_) layer.of(place) = {};
}

KvCache::Kept KvCache::keep(size_t place) const {
  Kept kept{.length = lengths_[place]};
  for (const LayerCache& layer : layers_) kept.layers.push_back(layer.of(place));
  return kept;
}

void KvCache::put(size_t place, const Kept& kept, int64_t length) {
  ORTHANT_CHECK(length >= kept.length - 1 && length <= kept.length, kInternal, "a sequence of ",
                kept.length, " tokens cannot begin another with ", length);
  lengths_[place] = length;
  for (size_t i = 0; i < layers_.size(); ++i) layers_[i].of(place) = kept.layers[i];
}

}  // namespace orthant
