// SPDX-License-Identifier: Apache-2.0
#include "tensor/cpu/isa.h"

#include <cpuid.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <cstdint>
#include <cstdlib>

#include "base/error.h"

namespace orthant::cpu {
namespace {

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

Isa chosen_isa() {
  const Isa detected = detected_isa();
  const char* text = std::getenv("ORTHANT_ISA");
  if (text == nullptr || *text == '\0') return detected;
  for (const Isa isa : {Isa::kScalar, Isa::kAvx512, Isa::kAvx512Bf16, Isa::kAmx}) {
    if (name_of(isa) != text) continue;
    ORTHANT_CHECK(isa <= detected, kConfig, "ORTHANT_ISA: want at most ", name_of(detected),
                  ", which this processor and system offer, got ", text);
    return isa;
  }
  throw_error(ErrorKind::kConfig,
              concat("ORTHANT_ISA: want scalar, avx512, avx512bf16 or amx, got ", text));
}

std::atomic<int> highest_allowed{static_cast<int>(Isa::kAmx)};

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

Isa active_isa() {
  static const Isa chosen = chosen_isa();
  return static_cast<Isa>(
      std::min(static_cast<int>(chosen), highest_allowed.load(std::memory_order_relaxed)));
}

void limit_isa(Isa highest) {
  int now = highest_allowed.load();
  while (static_cast<int>(highest) < now &&
         !highest_allowed.compare_exchange_weak(now, static_cast<int>(highest))) {
  }
}

}  // namespace orthant::cpu
