// SPDX-License-Identifier: Apache-2.0
#include "layers/head.h"

#include "parallel/collectives.h"

namespace orthant {
namespace {

constexpr const char* kStorage = "lm_head";

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

HeadLoss Head::loss(const Var& x, const Tensor& labels, const Tensor& row_weights) const {
  VocabPart part;
  if (tensor_.group().size() > 1) {
    part.first = tensor_.part(vocab_).begin;
    part.gather = [group = tensor_.group()](const Tensor& own) {
      const Tensor all =
          Tensor::empty({own.dim(0) * group.size(), own.dim(1)}, own.dtype(), own.device());
      group.all_gather(own, all).wait();
      return all;
    };
  }
  const Var all = tensor_.enter(x, labels.numel());
  // Of several adapters none trains.
  const HeadAdapter adapter = adapters_.empty() ? HeadAdapter{} : adapters_.front().of(all);
  return head_loss(all, *weight_, labels, part, row_weights, adapter);
}

std::vector<HeadAdapter> Head::adapters(const Var& x) const {
  std::vector<HeadAdapter> all;
  for (const LogitsAdapter& adapter : adapters_) all.push_back(adapter.of(x));
  return all;
}

Tensor Head::logits(const Tensor& x) const {
  const NoGradScope no_grad;
  const Tensor own = head_logits(x, *weight_, adapters(Var(x)));
  return gather_replicated(Var(own), -1, tensor_.group(), tensor_.sizes(vocab_)).value();
}

}  // namespace orthant
