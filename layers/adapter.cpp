// SPDX-License-Identifier: Apache-2.0
#include "layers/adapter.h"

#include "layers/builder.h"

namespace orthant {

void Branches::ask_for(const LayerBuilder& build, const Parameter& base,
                       std::span<const LogicalTensor> part, int64_t begin) {
  if (!build.adapters) return;
  if (Branch branch = build.adapters(build, base, part))
    attached_.push_back({begin, std::move(branch)});
}

Var Branches::add_to(Var y, const Var& x, const RowOffsets& offsets) const {
  for (const Attached& a : attached_) y = add_columns(y, a.branch(x, offsets), a.begin);
  return y;
}

}  // namespace orthant
