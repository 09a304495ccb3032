// SPDX-License-Identifier: Apache-2.0
// Instruction-set levels.  Results are bit-equal within a level, not between levels
// (docs/numerics.md).
#pragma once

#include <string_view>

namespace orthant::cpu {

enum class Isa : int { kScalar = 0, kAvx512 = 1, kAvx512Bf16 = 2, kAmx = 3 };

std::string_view name_of(Isa isa);  // "scalar", "avx512", "avx512bf16", "amx"
// The highest level that processor and operating system offer.
Isa detected_isa();
// The level in use by this process: ORTHANT_ISA where set (Error(kConfig) if unknown or not offered
// here), else detected; never above what limit_isa() allowed.  The first call fixes it, and asks
// the kernel for tile registers for kAmx.
Isa active_isa();
// Ranks agree on the lowest level at start-up, before the first product.
void limit_isa(Isa highest);

}  // namespace orthant::cpu
