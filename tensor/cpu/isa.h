// SPDX-License-Identifier: Apache-2.0
// Instruction-set levels.  Results are bit-equal within a level, not between levels
// (docs/numerics.md).
//
// Levels above avx512 differ from it in bf16 products alone, and a higher one need not be faster:
// processors that split vdpbf16ps into slow pieces exist.  So the level of a process is chosen by
// the rate of such products, measured in milliseconds when it is first asked for; ranks choose
// together (parallel/agree_isa.h).
#pragma once

#include <array>
#include <optional>
#include <string>
#include <string_view>

namespace orthant::cpu {

enum class Isa : int { kScalar = 0, kAvx512 = 1, kAvx512Bf16 = 2, kAmx = 3 };

std::string_view name_of(Isa isa);  // "scalar", "avx512", "avx512bf16", "amx"
// The highest level that processor and operating system offer.  Asks the kernel for tile registers
// for kAmx.
Isa detected_isa();
// ORTHANT_ISA; Error(kConfig) if it names no level, or one that is not offered here.
std::optional<Isa> forced_isa();

// Operations a second of bf16 products at each level, by Isa; 0 where not measured.
using IsaRates = std::array<double, 4>;
double& rate_of(IsaRates& rates, Isa isa);
double rate_of(const IsaRates& rates, Isa isa);
// The highest level, at most `highest`, that is nearly as fast as the fastest: a lower one must be
// faster by a fifth, so that noise does not decide, nor change a decision from start to start.
Isa choose_isa(Isa highest, const IsaRates& rates);

struct IsaChoice {
  Isa isa = Isa::kScalar;
  bool forced = false;  // by ORTHANT_ISA
  IsaRates rates{};     // of one thread; measured where there was something to choose
};
// What this process would choose alone: measures.
IsaChoice propose_isa();
// Sets the level of this process, before the first call of active_isa().
void settle_isa(const IsaChoice& choice);
// What was settled, else, from the first call on, what was proposed.
const IsaChoice& isa_choice();
inline Isa active_isa() { return isa_choice().isa; }
// Whether kernels other than those of bf16 products run at avx512: known without measuring.
bool uses_avx512();

// "avx512 (bf16 products of a thread: avx512bf16 48, avx512 82 GFLOP/s)"
std::string text_of(const IsaChoice& choice);

}  // namespace orthant::cpu
