// SPDX-License-Identifier: Apache-2.0
// One weight per expert, applied to rows that are sorted by expert.
#pragma once

#include "layers/builder.h"

namespace orthant {

// Which of a layer's routed experts this rank holds, and which part of their inner width.
struct ExpertShard {
  int64_t first = 0, count = 0;
  int64_t part = 0, num_parts = 1;
};
// What the inner width of an expert is in a weight [out, in].
enum class InnerDim { kOut, kIn };

class GroupedLinear {
 public:
  // Logical names: prefix + expert + "." + part name.  in and the parts' rows are those of the
  // whole weight.
  GroupedLinear(const LayerBuilder& build, const std::string& storage_name,
                const std::string& prefix, const ExpertShard& shard, InnerDim inner, int64_t in,
                const std::vector<WeightPart>& parts);
  Var forward(const Var& x, const RowOffsets& offsets) const {
    return adapter_ ? adapter_->forward(x, *weight_, offsets)
                    : grouped_linear(x, *weight_, offsets);
  }
  ParameterUse& weight() const { return *weight_; }
  // Whether the i-th of this rank's experts is called so: all its logical names contain `name`.
  bool holds(int64_t i, const std::string& name) const;

 private:
  std::vector<std::vector<LogicalTensor>> by_part(size_t num_parts) const;

  ParameterUse* weight_;
  std::shared_ptr<const ProductAdapter> adapter_;  // may be null
};

}  // namespace orthant
