// SPDX-License-Identifier: Apache-2.0
#include "parallel/value_buckets.h"

#include "base/context.h"

namespace orthant {

std::shared_ptr<ValueBuckets> ValueBuckets::adopt(const std::vector<Bucket>& buckets) {
  const CategoryScope category(MemoryCategory::kParameters);
  auto result = std::make_shared<ValueBuckets>();
  for (auto bucket = buckets.rbegin(); bucket != buckets.rend(); ++bucket) {
    const ParameterUse& first = *bucket->members.front().use;
    if (bucket->group.size() == 1 || first.is_tie() || first.parameter().is_mirror()) continue;
    const Tensor flat = Tensor::zeros({bucket->numel}, bucket->dtype, first.device());
    for (const Bucket::Member& member : bucket->members) {
      Parameter& parameter = member.use->parameter();
      const auto arrive = [result, index = result->values_.size()] { result->wait(index); };
      parameter.move_value(flat.flat(member.offset, member.offset + parameter.numel()), arrive);
    }
    result->values_.push_back({&*bucket, flat, Work()});
  }
  result->num_arrived_ = result->values_.size();
  return result;
}

void ValueBuckets::gather() {
  num_arrived_ = 0;
  for (Values& values : values_) {
    const Bucket& bucket = *values.bucket;
    const ElementRange own = bucket.own_slice();
    values.arrival = bucket.group.all_gather(values.flat.flat(own.begin, own.end), values.flat,
                                             bucket.slice_sizes());
  }
}

void ValueBuckets::wait(size_t index) {
  if (num_arrived_ == values_.size()) return;
  while (num_arrived_ < values_.size() && values_[num_arrived_].arrival.test()) ++num_arrived_;
  values_[index].arrival.wait();
}

void ValueBuckets::finish() {
  for (Values& values : values_) values.arrival.wait();
  num_arrived_ = values_.size();
}

}  // namespace orthant
