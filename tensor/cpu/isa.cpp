// SPDX-License-Identifier: Apache-2.0
#include "tensor/cpu/isa.h"

#include <cpuid.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <cmath>
#include <cstdint>
#include <cstdlib>
#include <memory>
#include <mutex>

#include "base/error.h"
#include "tensor/cpu/product_rate.h"

namespace orthant::cpu {
namespace {

constexpr Isa kIsas[] = {Isa::kScalar, Isa::kAvx512, Isa::kAvx512Bf16, Isa::kAmx};
Isa below(Isa isa) { return static_cast<Isa>(static_cast<int>(isa) - 1); }

struct Registers {
  unsigned eax = 0, ebx = 0, ecx = 0, edx = 0;
};

Registers cpuid(unsigned leaf, unsigned subleaf) {
  Registers r;
  if (__get_cpuid_count(leaf, subleaf, &r.eax, &r.ebx, &r.ecx, &r.edx) == 0) return {};
  return r;
}

bool has(unsigned word, int bit) { return ((word >> bit) & 1u) != 0; }

// What the operating system saves on a context switch; only valid where OSXSAVE is set.
uint64_t enabled_states() {
  unsigned low = 0, high = 0;
  __asm__ volatile("xgetbv" : "=a"(low), "=d"(high) : "c"(0));
  return (uint64_t{high} << 32) | low;
}

// Linux hands out the 8 KB of tile registers per process, on request, before the first use.
bool request_tile_registers() {
  constexpr long kRequestPermission = 0x1023;
  constexpr long kTileData = 18;
  return syscall(SYS_arch_prctl, kRequestPermission, kTileData) == 0;
}

Isa detect() {
  const Registers basic = cpuid(1, 0);
  const Registers extended = cpuid(7, 0);
  const Registers extended1 = cpuid(7, 1);
  const bool os_saves = has(basic.ecx, 27), fma = has(basic.ecx, 12), f16c = has(basic.ecx, 29);
  if (!os_saves || !fma || !f16c) return Isa::kScalar;
  const uint64_t states = enabled_states();
  constexpr uint64_t kVectorStates = 0xE6;  // xmm, ymm, opmask, upper zmm, zmm 16 to 31
  if ((states & kVectorStates) != kVectorStates) return Isa::kScalar;
  const bool avx512 = has(extended.ebx, 16) && has(extended.ebx, 17) && has(extended.ebx, 30) &&
                      has(extended.ebx, 31);  // F, DQ, BW, VL
  const bool avx2 = has(extended.ebx, 5), bmi2 = has(extended.ebx, 8);
  if (!avx512 || !avx2 || !bmi2) return Isa::kScalar;
  if (!has(extended1.eax, 5)) return Isa::kAvx512;
  constexpr uint64_t kTileStates = uint64_t{3} << 17;
  const bool amx = has(extended.edx, 24) && has(extended.edx, 22);  // tile, bf16
  if (!amx || (states & kTileStates) != kTileStates) return Isa::kAvx512Bf16;
  return request_tile_registers() ? Isa::kAmx : Isa::kAvx512Bf16;
}

std::mutex choice_mutex;
std::unique_ptr<const IsaChoice> choice_owner;
std::atomic<const IsaChoice*> settled{nullptr};  // choice_owner's, once it is there

void set_choice(const IsaChoice& choice) {
  choice_owner = std::make_unique<const IsaChoice>(choice);
  settled.store(choice_owner.get(), std::memory_order_release);
}

}  // namespace

std::string_view name_of(Isa isa) {
  switch (isa) {
    case Isa::kScalar:
      return "scalar";
    case Isa::kAvx512:
      return "avx512";
    case Isa::kAvx512Bf16:
      return "avx512bf16";
    case Isa::kAmx:
      return "amx";
  }
  return "unknown";
}

Isa detected_isa() {
  static const Isa isa = detect();
  return isa;
}

std::optional<Isa> forced_isa() {
  const char* text = std::getenv("ORTHANT_ISA");
  if (text == nullptr || *text == '\0') return std::nullopt;
  const Isa detected = detected_isa();
  for (const Isa isa : kIsas) {
    if (name_of(isa) != text) continue;
    ORTHANT_CHECK(isa <= detected, kConfig, "ORTHANT_ISA: want at most ", name_of(detected),
                  ", which this processor and system offer, got ", text);
    return isa;
  }
  throw_error(ErrorKind::kConfig,
              concat("ORTHANT_ISA: want scalar, avx512, avx512bf16 or amx, got ", text));
}

double& rate_of(IsaRates& rates, Isa isa) { return rates[static_cast<size_t>(isa)]; }
double rate_of(const IsaRates& rates, Isa isa) { return rates[static_cast<size_t>(isa)]; }

Isa choose_isa(Isa highest, const IsaRates& rates) {
  constexpr double kWorthALevel = 1.2;
  const double best =
      *std::max_element(rates.begin(), rates.begin() + static_cast<int>(highest) + 1);
  for (Isa isa = highest; isa > Isa::kScalar; isa = below(isa)) {
    if (rate_of(rates, isa) * kWorthALevel >= best) return isa;
  }
  return Isa::kScalar;
}

IsaChoice propose_isa() {
  if (const std::optional<Isa> forced = forced_isa()) return {.isa = *forced, .forced = true};
  const Isa highest = detected_isa();
  const IsaRates rates = measure_isa_rates(highest);
  return {.isa = choose_isa(highest, rates), .rates = rates};
}

void settle_isa(const IsaChoice& choice) {
  const std::lock_guard lock(choice_mutex);
  ORTHANT_CHECK(!choice_owner, kInternal,
                "the instruction-set level was settled after it was used");
  set_choice(choice);
}

const IsaChoice& isa_choice() {
  if (const IsaChoice* choice = settled.load(std::memory_order_acquire)) return *choice;
  const std::lock_guard lock(choice_mutex);
  if (!choice_owner) set_choice(propose_isa());
  return *choice_owner;
}

bool uses_avx512() {
  if (const IsaChoice* choice = settled.load(std::memory_order_acquire))
    return choice->isa >= Isa::kAvx512;
  static const bool offered = forced_isa().value_or(detected_isa()) >= Isa::kAvx512;
  return offered;
}

std::string text_of(const IsaChoice& choice) {
  std::string text(name_of(choice.isa));
  if (choice.forced) return text + " (ORTHANT_ISA)";
  std::string rates;
  for (Isa isa = Isa::kAmx; isa > Isa::kScalar; isa = below(isa)) {
    const auto giga = static_cast<int64_t>(std::lround(rate_of(choice.rates, isa) / 1e9));
    if (giga > 0) rates += concat(rates.empty() ? "" : ", ", name_of(isa), " ", giga);
  }
  if (rates.empty()) return text;
  return concat(text, " (bf16 products of a thread: ", rates, " GFLOP/s)");
}

}  // namespace orthant::cpu
