// SPDX-License-Identifier: Apache-2.0
#include "layers/adapter_rows.h"

#include <algorithm>

namespace orthant {

RowChoice::RowChoice(std::span<const int64_t> adapters, size_t num_adapters, Device device)
    : num_rows_(std::ssize(adapters)) {
  for (size_t k = 0; k < num_adapters; ++k) {
    const auto has = [k](int64_t adapter) { return adapter == static_cast<int64_t>(k); };
    RowSet set{.all = std::all_of(adapters.begin(), adapters.end(), has)};
    if (!set.all && std::any_of(adapters.begin(), adapters.end(), has)) {
      std::vector<int32_t> rows(adapters.size(), -1);
      for (size_t n = 0; n < rows.size(); ++n)
        if (has(adapters[n])) rows[n] = static_cast<int32_t>(n);
      set.rows = Tensor::from_i32({num_rows_}, rows, device);
    }
    sets_.push_back(std::move(set));
  }
}

}  // namespace orthant
