// SPDX-License-Identifier: Apache-2.0
#include "moe/protected_rows.h"

#include <bit>
#include <vector>

#include "base/checksum.h"

namespace orthant {

static_assert(std::endian::native == std::endian::little);

bool is_protected_sample(int64_t sample_id) {
  return sample_id >= 0 && xxh3_64(&sample_id, sizeof(sample_id)) % 10 == 0;
}

Tensor protected_rows(std::span<const int64_t> sample_ids, Device device) {
  std::vector<int32_t> rows;
  for (const int64_t id : sample_ids) rows.push_back(is_protected_sample(id));
  return Tensor::from_i32({static_cast<int64_t>(rows.size())}, rows, device);
}

}  // namespace orthant
