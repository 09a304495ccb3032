// SPDX-License-Identifier: Apache-2.0
#include "layers/embedding.h"

namespace orthant {

Embedding::Embedding(const LayerBuilder& build, const std::string& name, int64_t vocab,
                     int64_t width, Tied tied)
    : tensor_(build.tensor()),
      own_(tensor_.part(vocab)),
      weight_(&add_matrix(build, name, width, {{name, vocab, own_}},
                          {.dtype = build.dtype, .tied = tied})) {
  if (tied != Tied::kMirror) adapters_ = EmbeddingAdapter::make(build, weight_->parameter(), own_);
}

Embedding::Embedding(const LayerBuilder& build, const std::string& name, int64_t vocab,
                     Parameter& weight)
    : tensor_(build.tensor()), own_(tensor_.part(vocab)), weight_(&build.store.tie(name, weight)) {}

Var Embedding::rows_of(const Tensor& ids) const {
  Var rows = embedding(ids, *weight_);
  for (const EmbeddingAdapter& adapter : adapters_) rows = add(rows, adapter.forward(ids));
  return rows;
}

Var Embedding::forward(const Tensor& ids) const {
  const Device device = weight_->device();
  if (tensor_.group().size() == 1) return rows_of(ids.to(device));
  const Tensor host = ids.to(Device{}).clone();
  // Ids of other ranks give zeros here.
  for (int32_t& id : host.span<int32_t>())
    id = id >= own_.begin && id < own_.begin + own_.size ? id - static_cast<int32_t>(own_.begin)
                                                         : -1;
  return tensor_.leave(rows_of(host.to(device)), ids.numel());
}

}  // namespace orthant
