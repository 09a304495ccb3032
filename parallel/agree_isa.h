// SPDX-License-Identifier: Apache-2.0
// The instruction-set level that all ranks run at.
#pragma once

#include <optional>

#include "base/function_ref.h"
#include "parallel/comm/group.h"
#include "tensor/cpu/isa.h"

namespace orthant {

// Settles the level of this process, one of those that every rank offers.  Collective; before the
// first product.
void agree_on_isa(const Group& world);

// The level for ranks that have an ORTHANT_ISA or not, offer levels up to `detected`, and measure
// their products: the lowest that is forced or offered where any rank has one forced, else by the
// mean of the ranks' rates, so that one rank that was held up decides nothing.  Collective.
cpu::IsaChoice agreed_isa(const Group& world, std::optional<cpu::Isa> forced, cpu::Isa detected,
                          FunctionRef<cpu::IsaRates(cpu::Isa highest)> measure);

}  // namespace orthant
