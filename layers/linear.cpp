// SPDX-License-Identifier: Apache-2.0
#include "layers/linear.h"

#include "base/text.h"
#include "parallel/collectives.h"

namespace orthant {
namespace {

DimPart settled(const DimPart& part, int64_t whole) {
  return part.size < 0 ? DimPart{0, whole} : part;
}

// What this rank holds of a logical tensor [part.rows, in].
LogicalTensor rectangle(const WeightPart& part, int64_t in, const DimPart& columns, int64_t offset,
                        double std) {
  const DimPart rows = settled(part.own, part.rows);
  LogicalTensor t = whole_tensor(part.name, {part.rows, in}, offset, std);
  t.begin = {rows.begin, columns.begin};
  t.shape = {rows.size, columns.size};
  return t;
}

}  // namespace

Linear::Linear(const LayerBuilder& build, const std::string& storage_name, int64_t in,
               const std::vector<WeightPart>& parts, const LinearOptions& options) {
  const DimPart columns = settled(options.own_in, in);
  std::vector<LogicalTensor> logical;
  int64_t rows = 0;
  for (const WeightPart& part : parts) {
    logical.push_back(rectangle(part, in, columns, rows * columns.size, build.init_std));
    rows += logical.back().shape[0];
  }
  weight_ = &build.store.add({.name = storage_name,
                              .shape = {rows, columns.size},
                              .dtype = options.dtype,
                              .device = build.device,
                              .logical = std::move(logical),
                              .replicas = options.replicas,
                              .tied = options.tied});
}

Linear::Linear(const LayerBuilder& build, const std::string& storage_name, Parameter& tied_to)
    : weight_(&build.store.add({.name = storage_name, .tied_to = &tied_to})) {}

GroupedLinear::GroupedLinear(const LayerBuilder& build, const std::string& storage_name,
                             const std::string& prefix, const ExpertShard& shard, InnerDim inner,
                             int64_t in, const std::vector<WeightPart>& parts) {
  const int cut = inner == InnerDim::kOut ? 0 : 1;
  std::vector<LogicalTensor> logical;
  int64_t offset = 0;
  for (int64_t e = shard.first; e < shard.first + shard.count; ++e) {
    for (const WeightPart& part : parts) {
      LogicalTensor t =
          whole_tensor(concat(prefix, e, ".", part.name), {part.rows, in}, offset, build.init_std);
      t.shape[cut] /= shard.num_parts;
      t.begin[static_cast<size_t>(cut)] = shard.part * t.shape[cut];
      offset += t.shape.numel();
      logical.push_back(std::move(t));
    }
  }
  const int64_t local_in = cut == 1 ? in / shard.num_parts : in;
  weight_ = &build.store.add({.name = storage_name,
                              .shape = {shard.count, offset / (shard.count * local_in), local_in},
                              .dtype = build.dtype,
                              .device = build.device,
                              .logical = std::move(logical),
                              .replicas = Replicas::kExpert});
}

bool GroupedLinear::holds(int64_t i, const std::string& name) const {
  const int64_t size = weight_->numel() / weight_->shape()[0];
  int64_t found = 0;
  for (const LogicalTensor& t : weight_->logical()) {
    if (t.offset < i * size || t.offset >= (i + 1) * size) continue;
    if (t.name.find("." + name) == std::string::npos) return false;
    found += t.shape.numel();
  }
  return found == size;
}

RmsNorm::RmsNorm(const LayerBuilder& build, const std::string& name, int64_t width, double eps)
    : eps_(eps) {
  LogicalTensor logical = whole_tensor(name, {width}, 0, 0.0);
  logical.init_value = 1.0;
  weight_ = &build.store.add({.name = name,
                              .shape = {width},
                              .dtype = build.wide(),
                              .device = build.device,
                              .logical = {logical},
                              .replicas = build.stream_replicas()});
}

Embedding::Embedding(const LayerBuilder& build, const std::string& name, int64_t vocab,
                     int64_t width, Tied tied)
    : tensor_(build.tensor()), own_(tensor_.part(vocab)) {
  weight_ = &build.store.add(
      {.name = name,
       .shape = {own_.size, width},
       .dtype = build.dtype,
       .device = build.device,
       .logical = {rectangle({name, vocab, own_}, width, {0, width}, 0, build.init_std)},
       .tied = tied});
}

Var Embedding::forward(const Tensor& ids) const {
  const Device device = weight_->device();
  if (tensor_.group().size() == 1) return embedding(ids.to(device), *weight_);
  const Tensor own = ids.clone();
  // Ids of other ranks give zeros here.
  for (int32_t& id : own.span<int32_t>())
    id = id >= own_.begin && id < own_.begin + own_.size ? id - static_cast<int32_t>(own_.begin)
                                                         : -1;
  return tensor_.leave(embedding(own.to(device), *weight_), ids.numel());
}

Head::Head(const LayerBuilder& build, const std::string& name, int64_t vocab, int64_t width,
           Tied tied)
    : tensor_(build.tensor()),
      vocab_(vocab),
      linear_(build, "lm_head", width, {{name, vocab, tensor_.part(vocab)}},
              {.dtype = build.dtype, .tied = tied}) {}

Head::Head(const LayerBuilder& build, int64_t vocab, const Embedding& tied_to)
    : tensor_(build.tensor()), vocab_(vocab), linear_(build, "lm_head", tied_to.weight()) {}

HeadLoss Head::loss(const Var& x, const Tensor& labels) const {
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
  return head_loss(tensor_.enter(x, labels.numel()), linear_.weight(), labels, part);
}

Tensor Head::logits(const Tensor& x) const {
  const Tensor own = head_logits(x, linear_.weight());
  return gather_replicated(Var(own), -1, tensor_.group(), tensor_.sizes(vocab_)).value();
}

FeedForward::FeedForward(const LayerBuilder& build, const std::string& prefix, int64_t width,
                         int64_t inner)
    : tensor_(build.tensor()),
      gate_up_(build, prefix + "gate_up", width,
               {{prefix + "gate_proj.weight", inner, tensor_.part(inner)},
                {prefix + "up_proj.weight", inner, tensor_.part(inner)}},
               {.dtype = build.dtype}),
      down_(build, prefix + "down", inner, {{prefix + "down_proj.weight", width}},
            {.dtype = build.dtype, .own_in = tensor_.part(inner)}) {}

Var FeedForward::forward(const Var& x, int64_t rows) const {
  const Var inner = remake(swiglu, gate_up_.forward(tensor_.enter(x, rows)));
  return tensor_.leave(down_.forward(inner), rows);
}

}  // namespace orthant
