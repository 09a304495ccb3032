// SPDX-License-Identifier: Apache-2.0
#include "layers/grouped_linear.h"

#include "base/text.h"

namespace orthant {

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
  ask_for_branches(build, parts.size());
}

void GroupedLinear::ask_for_branches(const LayerBuilder& build, size_t num_parts) {
  const std::vector<LogicalTensor>& table = weight_->parameter().table();
  int64_t begin = 0;
  for (size_t p = 0; p < num_parts; ++p) {
    std::vector<LogicalTensor> experts;
    for (size_t i = p; i < table.size(); i += num_parts) experts.push_back(table[i]);
    branches_.ask_for(build, weight_->parameter(), experts, begin);
    begin += experts.front().shape[0];
  }
}

bool GroupedLinear::holds(int64_t i, const std::string& name) const {
  const int64_t size = weight_->parameter().numel() / weight_->shape()[0];
  int64_t found = 0;
  for (const LogicalTensor& t : weight_->parameter().logical()) {
    if (t.offset < i * size || t.offset >= (i + 1) * size) continue;
    if (t.name.find("." + name) == std::string::npos) return false;
    found += t.shape.numel();
  }
  return found == size;
}

}  // namespace orthant
