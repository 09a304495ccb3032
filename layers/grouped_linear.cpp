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
  const Quantization held = build.quantization_of(logical);
  weight_ = &build.store.add({.name = storage_name,
                              .shape = {shard.count, offset / (shard.count * local_in), local_in},
                              .dtype = build.dtype,
                              .device = build.device,
                              .logical = std::move(logical),
                              .replicas = Replicas::kExpert,
                              .quantization = held});
  const Cut how = shard.num_parts == 1 ? Cut::kNone : cut == 0 ? Cut::kOutputs : Cut::kInputs;
  adapter_ =
      ProductAdapter::make(build, weight_->parameter(), how, by_part(parts.size()), storage_name);
}

// The logical tensors of each part, by expert.
std::vector<std::vector<LogicalTensor>> GroupedLinear::by_part(size_t num_parts) const {
  const std::vector<LogicalTensor>& table = weight_->parameter().table();
  std::vector<std::vector<LogicalTensor>> parts(num_parts);
  for (size_t i = 0; i < table.size(); ++i) parts[i % num_parts].push_back(table[i]);
  return parts;
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
