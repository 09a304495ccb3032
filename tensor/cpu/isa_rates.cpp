// SPDX-License-Identifier: Apache-2.0
#include "tensor/cpu/isa_rates.h"

#include <algorithm>
#include <cstdint>

#include "base/clock.h"
#include "base/context.h"
#include "tensor/cpu/gemm.h"
#include "tensor/cpu/gemm/kernels.h"
#include "tensor/cpu/gemm/scratch.h"

namespace orthant::cpu {
namespace {

// A product whose operands stay in L2, on one thread: others may be busy with theirs.
class Product {
 public:
  double rate_at(Isa isa) {
    const double begin = now_seconds();
    gemm_with(gemm_kernel(isa, DType::kBF16), args_);
    return 2.0 * kRows * kColumns * kDepth / std::max(1e-9, now_seconds() - begin);
  }

 private:
  static constexpr int64_t kRows = 128, kColumns = 256, kDepth = 512;
  static constexpr int64_t kBytes = 2;

  struct Operand {
    explicit Operand(int64_t elements) : bytes(elements * kBytes) {
      std::fill_n(reinterpret_cast<uint16_t*>(bytes.data()), elements, uint16_t{0x3f80});  // ones
    }
    AlignedBytes bytes;
  };

  RankContext own_{.num_threads = 1};
  ContextScope scope_{own_};
  Operand a_{kRows * kDepth}, b_{kColumns * kDepth}, c_{kRows * kColumns};
  GemmArgs args_{.m = kRows,
                 .n = kColumns,
                 .k = kDepth,
                 .dtype = DType::kBF16,
                 .out_dtype = DType::kBF16,
                 .a = a_.bytes.data(),
                 .lda = kDepth,
                 .b = b_.bytes.data(),
                 .ldb = kDepth,
                 .trans_b = true,
                 .c = c_.bytes.data(),
                 .ldc = kColumns};
};

}  // namespace

IsaRates measure_isa_rates(Isa highest) {
  constexpr int kRounds = 6, kMoreRounds = 12;
  IsaRates rates{};
  if (highest <= Isa::kAvx512) return rates;
  Product product;
  const auto measure_all = [&] {  // in turn: what slows the machine for a while slows all levels
    for (int level = static_cast<int>(Isa::kAvx512); level <= static_cast<int>(highest); ++level) {
      double& rate = rate_of(rates, static_cast<Isa>(level));
      rate = std::max(rate, product.rate_at(static_cast<Isa>(level)));
    }
  };
  for (int i = 0; i < kRounds; ++i) measure_all();
  // The usual choice is left only for a difference that lasts.
  for (int i = 0; i < kMoreRounds && choose_isa(highest, rates) != highest; ++i) measure_all();
  return rates;
}

}  // namespace orthant::cpu
