// SPDX-License-Identifier: Apache-2.0
#include "tensor/cpu/gemm.h"

#include <gtest/gtest.h>

#include "base/error.h"
#include "tensor/cpu/isa.h"
#include "tests/tensor/gemm_checks.h"

namespace orthant::testing {
namespace {

using cpu::gemm_kernel;
using cpu::Isa;

// The kernels that this processor can run; each level's own ones only.
std::vector<const cpu::GemmKernel*> offered_kernels() {
  std::vector<const cpu::GemmKernel*> kernels;
  for (const Isa isa : {Isa::kScalar, Isa::kAvx512, Isa::kAvx512Bf16, Isa::kAmx}) {
    if (isa > cpu::detected_isa()) break;
    for (const DType dtype : {DType::kF64, DType::kF32, DType::kBF16}) {
      const cpu::GemmKernel& kernel = gemm_kernel(isa, dtype);
      if (kernel.isa == isa) kernels.push_back(&kernel);
    }
  }
  return kernels;
}

TEST(Gemm, MatchesDoublePrecisionInEveryForm) {
  for (const cpu::GemmKernel* kernel : offered_kernels()) check_all_forms(*kernel, 5);
}

TEST(Gemm, BitsDependOnRowColumnAndKAlone) {
  for (const cpu::GemmKernel* kernel : offered_kernels()) {
    check_bits(*kernel, 37, 250, 99);
    check_bits(*kernel, 13, 65, 3333);
  }
}

TEST(Gemm, LargeProductsAreCutWithoutAChange) {
  for (const cpu::GemmKernel* kernel : offered_kernels()) {
    if (kernel->isa == Isa::kScalar || kernel->dtype == DType::kF64) continue;
    check_product(*kernel, kernel->dtype, 1700, 640, 3100, {.trans_a = true, .accumulate = true},
                  1);
    check_product(*kernel, kernel->dtype, 300, 2100, 600, {.trans_b = true}, 2);
  }
}

TEST(Gemm, NonFiniteValuesStayInTheirRowAndColumn) {
  for (const cpu::GemmKernel* kernel : offered_kernels()) check_non_finite(*kernel);
}

TEST(Gemm, GroupedProductsEqualSingleOnes) {
  for (const cpu::GemmKernel* kernel : offered_kernels()) check_grouped(*kernel);
}

TEST(Gemm, RefusesWhatDoesNotFit) {
  const std::vector<float> zeros(64, 0.0f);
  std::vector<float> c(64);
  const auto packed = cpu::pack_matrix(DType::kF32, 4, 8, zeros.data(), 8, false);
  EXPECT_GT(cpu::packed_bytes(*packed), 0);
  cpu::GemmArgs args{.m = 2,
                     .n = 8,
                     .k = 4,
                     .a = zeros.data(),
                     .lda = 4,
                     .packed_b = packed.get(),
                     .c = c.data(),
                     .ldc = 8};
  cpu::gemm(args);
  args.n = 7;
  EXPECT_THROW(cpu::gemm(args), Error);
  args.n = 8;
  args.out_dtype = DType::kBF16;
  EXPECT_THROW(cpu::gemm(args), Error);
  args.out_dtype = args.dtype = DType::kI32;
  EXPECT_THROW(cpu::gemm(args), Error);
}

}  // namespace
}  // namespace orthant::testing
