// SPDX-License-Identifier: Apache-2.0
#include "tensor/cpu/isa.h"

#include <gmock/gmock.h>

#include <cstdlib>

#include "base/context.h"
#include "base/error.h"
#include "base/processors.h"
#include "tensor/cpu/product_rate.h"

namespace orthant::testing {
namespace {

using cpu::Isa;
using cpu::IsaRates;

// GFLOP/s of scalar, avx512, avx512bf16 and amx, and what is chosen of the levels up to `highest`.
struct Case {
  const char* machine;
  Isa highest;
  IsaRates rates;
  Isa chosen;
};

TEST(Isa, TheLevelIsChosenByTheRateOfItsProducts) {
  constexpr Isa kScalar = Isa::kScalar, kAvx512 = Isa::kAvx512, kBf16 = Isa::kAvx512Bf16,
                kAmx = Isa::kAmx;
  const Case cases[] = {
      {"Intel, AVX-512 BF16 in slow pieces, no AMX", kBf16, {0, 164, 95, 0}, kAvx512},
      {"AMD Zen 5", kBf16, {0, 231, 447, 0}, kBf16},
      {"AMX as it should be", kAmx, {0, 164, 95, 900}, kAmx},
      {"AMX emulated, or shared to death", kAmx, {0, 164, 95, 40}, kAvx512},
      {"AMX slow, pairs fast", kAmx, {0, 100, 200, 50}, kBf16},
      {"a tie", kBf16, {0, 100, 100, 0}, kBf16},
      {"noise, one way", kBf16, {0, 110, 100, 0}, kBf16},
      {"noise, the other way", kBf16, {0, 100, 110, 0}, kBf16},
      {"just not worth it", kBf16, {0, 119, 100, 0}, kBf16},
      {"just worth it", kBf16, {0, 121, 100, 0}, kAvx512},
      {"not above what all ranks offer", kAvx512, {0, 100, 200, 900}, kAvx512},
      {"nothing was measured", kAmx, {}, kAmx},
      {"no vectors", kScalar, {}, kScalar},
  };
  for (const Case& c : cases) EXPECT_EQ(choose_isa(c.highest, c.rates), c.chosen) << c.machine;
}

TEST(Isa, RatesAreMeasuredWhereThereIsAChoice) {
  EXPECT_EQ(cpu::measure_isa_rates(Isa::kScalar), IsaRates{});
  EXPECT_EQ(cpu::measure_isa_rates(Isa::kAvx512), IsaRates{});
  const Isa highest = cpu::detected_isa();
  if (highest <= Isa::kAvx512) GTEST_SKIP() << "this processor has one level";
  const IsaRates rates = cpu::measure_isa_rates(highest);
  for (int level = 0; level <= static_cast<int>(highest); ++level) {
    const double rate = rate_of(rates, static_cast<Isa>(level));
    EXPECT_EQ(rate > 1e9, level > 0) << level << ": " << rate;
    EXPECT_LT(rate, 1e14) << level;
  }
}

TEST(ProductRate, CountsThreadsThatHaveProcessors) {
  const auto rate = [](int threads) {
    RankContext own{.num_threads = threads};
    const ContextScope scope(own);
    return cpu::measure_threads_rate(DType::kF32);
  };
  const double one = rate(1);
  EXPECT_GT(one, 1e8);
  const int usable = processors().usable();
  for (const int threads : {usable, 8 * usable}) {
    const double all = rate(threads);
    EXPECT_GT(all, 0.2 * one * usable) << threads;
    EXPECT_LT(all, 2.0 * one * usable) << threads;
  }
}

TEST(Isa, AChoiceSaysItsFigures) {
  EXPECT_EQ(text_of(cpu::IsaChoice{.isa = Isa::kAvx512, .rates = {0, 82e9, 47.6e9, 0}}),
            "avx512 (bf16 products of a thread: avx512bf16 48, avx512 82 GFLOP/s)");
  EXPECT_EQ(text_of(cpu::IsaChoice{.isa = Isa::kAmx, .forced = true}), "amx (ORTHANT_ISA)");
  EXPECT_EQ(text_of(cpu::IsaChoice{.isa = Isa::kScalar}), "scalar");
}

TEST(Isa, TheProcessHasOneLevel) {
  const Isa active = cpu::active_isa();
  EXPECT_EQ(active, cpu::isa_choice().isa);
  EXPECT_LE(active, cpu::detected_isa());
  EXPECT_EQ(cpu::uses_avx512(), active >= Isa::kAvx512);
  EXPECT_EQ(active, cpu::forced_isa().value_or(active));
  EXPECT_THROW(cpu::settle_isa({.isa = Isa::kScalar}), Error);  // products may have run
  EXPECT_EQ(cpu::active_isa(), active);
}

// Death tests run before the others, which settle this process.
TEST(IsaDeathTest, SettledBeforeTheFirstProduct) {
  EXPECT_EXIT(
      {
        cpu::settle_isa({.isa = Isa::kScalar});
        const bool right = cpu::active_isa() == Isa::kScalar && !cpu::uses_avx512();
        std::exit(right ? 0 : 1);
      },
      ::testing::ExitedWithCode(0), "");
}

}  // namespace
}  // namespace orthant::testing
