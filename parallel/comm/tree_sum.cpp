// SPDX-License-Identifier: Apache-2.0
#include <algorithm>

#include "base/error.h"
#include "parallel/comm/group.h"
#include "tensor/ops/elementwise.h"

namespace orthant {

// On the host block by block, so that the partial sums of a block stay in the cache; the order of
// the additions of an element does not depend on the blocks.
void tree_sum(std::span<const Tensor> parts, const Tensor& sum) {
  ORTHANT_CHECK(!parts.empty(), kInternal, "tree_sum: want at least one part");
  constexpr int64_t kBlockElems = 64 * 1024;
  const int64_t numel = parts[0].numel();
  const auto check = [&](const Tensor& tensor) {
    ORTHANT_CHECK(tensor.numel() == numel && tensor.dtype() == parts[0].dtype(), kInternal,
                  "tree_sum: want ", describe(parts[0]), ", got ", describe(tensor));
  };
  for (const Tensor& part : parts) check(part);
  check(sum);
  if (parts.size() == 1 && sum.data() != parts[0].data())
    copy(parts[0], sum.view(parts[0].shape()));
  const int64_t block = parts[0].device().is_cpu() ? kBlockElems : std::max<int64_t>(1, numel);
  for (int64_t begin = 0; begin < numel; begin += block) {
    const int64_t end = std::min(numel, begin + block);
    for (size_t stride = 1; stride < parts.size(); stride *= 2) {
      const bool is_root = 2 * stride >= parts.size();
      for (size_t i = 0; i + stride < parts.size(); i += 2 * stride) {
        const Tensor left = parts[i].flat(begin, end);
        ops::add(left, parts[i + stride].flat(begin, end), is_root ? sum.flat(begin, end) : left);
      }
    }
  }
}

}  // namespace orthant
