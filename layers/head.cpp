// SPDX-License-Identifier: Apache-2.0
#include "layers/head.h"

#include <algorithm>

#include "parallel/collectives.h"

namespace orthant {
namespace {

constexpr const char* kStorage = "lm_head";
constexpr int64_t kLikeliestRows = 64;  // whose logits are there at once

}  // namespace

Head::Head(const LayerBuilder& build, const std::string& name, int64_t vocab, int64_t width,
           Tied tied)
    : tensor_(build.tensor()),
      vocab_(vocab),
      weight_(&add_matrix(build, kStorage, width, {{name, vocab, tensor_.part(vocab)}},
                          {.dtype = build.dtype, .tied = tied})),
      adapters_(LogitsAdapter::make(build, vocab, width, tensor_.part(vocab))) {}

Head::Head(const LayerBuilder& build, const std::string& name, int64_t vocab, Parameter& weight)
    : tensor_(build.tensor()), vocab_(vocab), weight_(&build.store.tie(name, weight)) {
  if (name == "lm_head")
    adapters_ = LogitsAdapter::make(build, vocab, weight.shape()[1], tensor_.part(vocab));
}

VocabPart Head::part() const {
  VocabPart part;
  if (tensor_.group().size() == 1) return part;
  part.first = tensor_.part(vocab_).begin;
  part.gather = [group = tensor_.group()](const Tensor& own) {
    const Tensor all =
        Tensor::empty({own.dim(0) * group.size(), own.dim(1)}, own.dtype(), own.device());
    group.all_gather(own, all).wait();
    return all;
  };
  part.gather_columns = [this](const Tensor& own) { return all_columns(own); };
  return part;
}

HeadLoss Head::loss(const Var& x, const Tensor& labels, const Tensor& row_weights,
                    const SoftTargets* soft) const {
  const Var all = tensor_.enter(x, labels.numel());
  // Of several adapters none trains.
  const HeadAdapter adapter = adapters_.empty() ? HeadAdapter{} : adapters_.front().of(all);
  return head_loss(all, *weight_, labels, part(), row_weights, adapter, soft);
}

std::vector<HeadAdapter> Head::adapters(const Var& x) const {
  std::vector<HeadAdapter> all;
  for (const LogitsAdapter& adapter : adapters_) all.push_back(adapter.of(x));
  return all;
}

Tensor Head::all_columns(const Tensor& own) const {
  const NoGradScope no_grad;
  return gather_replicated(Var(own), -1, tensor_.group(), tensor_.sizes(vocab_)).value();
}

Tensor Head::logits(const Tensor& x) const {
  const NoGradScope no_grad;
  return all_columns(head_logits(x, *weight_, adapters(Var(x))));
}

Tensor Head::all_rows(const Tensor& x, int64_t rows) const {
  const NoGradScope no_grad;
  return tensor_.enter(Var(x), rows).value();
}

LikeliestTokens Head::likeliest(const Tensor& x, const Tensor& labels, int64_t count,
                                double temperature) const {
  const NoGradScope no_grad;
  const VocabPart part = this->part();
  const int64_t rows = x.dim(0);
  const LikeliestTokens found{Tensor::empty({rows, count}, DType::kI32),
                              Tensor::zeros({rows, count + 1}, DType::kF64)};
  std::ranges::fill(found.ids.span<int32_t>(), -1);
  const Tensor host_labels = labels.to(Device{});
  for (int64_t begin = 0; begin < rows; begin += kLikeliestRows) {
    const int64_t end = std::min(rows, begin + kLikeliestRows);
    const std::span<const int32_t> of_chunk = host_labels.slice(begin, end).span<int32_t>();
    if (std::ranges::all_of(of_chunk, [](int32_t label) { return label < 0; })) continue;
    const Tensor chunk = x.slice(begin, end);
    find_likeliest(head_logits(chunk, *weight_, adapters(Var(chunk))), part.first, temperature,
                   of_chunk, part.gather, begin, found);
  }
  return found;
}

}  // namespace orthant
