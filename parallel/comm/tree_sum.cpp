// SPDX-License-Identifier: Apache-2.0
#include <algorithm>

#include "base/error.h"
#include "parallel/comm/group.h"
#include "tensor/ops/elementwise.h"

namespace orthant {

// On the host block by block, so that the partial sums of a block stay in the cache; the order of
// the additions of an element does not depend on the blocks.
void tree_sum(std::span<const Tensor> parts) {
  ORTHANT_CHECK(!parts.empty(), kInternal, "tree_sum: want at least one part");
  constexpr int64_t kBlockElems = 64 * 1024;
  const int64_t numel = parts[0].numel();
  for (const Tensor& part : parts) {
    ORTHANT_CHECK(part.numel() == numel && part.dtype() == parts[0].dtype(), kInternal,
                  "tree_sum: want ", describe(parts[0]), ", got ", describe(part));
  }
  const int64_t block = parts[0].device().is_cpu() ? kBlockElems : std::max<int64_t>(1, numel);
  for (int64_t begin = 0; begin < numel; begin += block) {
    const int64_t end = std::min(numel, begin + block);
    for (size_t stride = 1; stride < parts.size(); stride *= 2) {
      for (size_t i = 0; i + stride < parts.size(); i += 2 * stride) {
        const Tensor sum = parts[i].flat(begin, end);
        ops::add(sum, parts[i + stride].flat(begin, end), sum);
      }
    }
  }
}

}  // namespace orthant
