// SPDX-License-Identifier: Apache-2.0
// f64 and f32 with AVX-512; bf16 is widened while packing (its products are exact in f32).
#include "tensor/cpu/gemm/kernels.h"
#include "tensor/cpu/gemm/pack_avx512.h"
#include "tensor/cpu/gemm/register_block.h"

namespace orthant::cpu::isa_avx512 {
namespace {

template <class Units, class Ops>
constexpr GemmKernel make_kernel(DType dtype) {
  return {.isa = Isa::kAvx512,
          .dtype = dtype,
          .max_height = kBlockRows,
          .reads_in_place = sizeof(typename Units::In) == sizeof(typename Ops::Acc),
          .a_width_multiple = Units::kLanes,
          .panel = 2 * Ops::kLanes,
          .element_bytes = Units::kUnitBytes,
          .acc_bytes = sizeof(typename Ops::Acc),
          .pack_a = pack_interleaved<Units>,
          .pack_b = pack_interleaved<Units>,
          .sweep = sweep_blocks<Ops>};
}

}  // namespace

constinit const GemmKernel gemm_f64 = make_kernel<F64Units, F64Block>(DType::kF64);
constinit const GemmKernel gemm_f32 = make_kernel<F32Units, F32Block>(DType::kF32);
constinit const GemmKernel gemm_bf16 = make_kernel<WidenedUnits, F32Block>(DType::kBF16);

}  // namespace orthant::cpu::isa_avx512
