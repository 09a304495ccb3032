// SPDX-License-Identifier: Apache-2.0
#include "layers/linear.h"

#include "base/text.h"

namespace orthant {
namespace {

std::vector<LogicalTensor> row_parts(const std::vector<WeightPart>& parts, int64_t in, double std,
                                     int64_t& rows) {
  std::vector<LogicalTensor> logical;
  for (const WeightPart& part : parts) {
    logical.push_back(whole_tensor(part.name, {part.rows, in}, rows * in, std));
    rows += part.rows;
  }
  return logical;
}

}  // namespace

Linear::Linear(const LayerBuilder& build, const std::string& storage_name, int64_t in,
               const std::vector<WeightPart>& parts, DType dtype) {
  int64_t rows = 0;
  std::vector<LogicalTensor> logical = row_parts(parts, in, build.init_std, rows);
  weight_ = &build.store.add({.name = storage_name,
                              .shape = {rows, in},
                              .dtype = dtype,
                              .device = build.device,
                              .logical = std::move(logical)});
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
                              .expert = true});
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
                              .logical = {logical}});
}

Embedding::Embedding(const LayerBuilder& build, const std::string& name, int64_t vocab,
                     int64_t width) {
  weight_ = &build.store.add({.name = name,
                              .shape = {vocab, width},
                              .dtype = build.dtype,
                              .device = build.device,
                              .logical = {whole_tensor(name, {vocab, width}, 0, build.init_std)}});
}

FeedForward::FeedForward(const LayerBuilder& build, const std::string& prefix, int64_t width,
                         int64_t inner)
    : gate_up_(build, prefix + "gate_up", width,
               {{prefix + "gate_proj.weight", inner}, {prefix + "up_proj.weight", inner}},
               build.dtype),
      down_(build, prefix + "down", inner, {{prefix + "down_proj.weight", width}}, build.dtype) {}

}  // namespace orthant
