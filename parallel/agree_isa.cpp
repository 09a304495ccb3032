// SPDX-License-Identifier: Apache-2.0
#include "parallel/agree_isa.h"

#include <vector>

#include "tensor/cpu/product_rate.h"

namespace orthant {

cpu::IsaChoice agreed_isa(const Group& world, std::optional<cpu::Isa> forced, cpu::Isa detected,
                          FunctionRef<cpu::IsaRates(cpu::Isa highest)> measure) {
  const auto own = static_cast<int64_t>(forced.value_or(detected));
  const auto highest = static_cast<cpu::Isa>(-world.max(-own));
  if (world.max(forced ? 1 : 0) != 0) return {.isa = highest, .forced = true};
  cpu::IsaRates rates = measure(highest);
  const std::vector<double> sums = world.sum(rates);
  for (size_t i = 0; i < rates.size(); ++i) rates[i] = sums[i] / world.size();
  return {.isa = cpu::choose_isa(highest, rates), .rates = rates};
}

void agree_on_isa(const Group& world) {
  const auto measure = [](cpu::Isa highest) { return cpu::measure_isa_rates(highest); };
  cpu::settle_isa(agreed_isa(world, cpu::forced_isa(), cpu::detected_isa(), measure));
}

}  // namespace orthant
