// SPDX-License-Identifier: Apache-2.0
// bf16 with vdpbf16ps, which adds the products of a pair of k to an f32 sum.
#include "tensor/cpu/gemm/kernels.h"
#include "tensor/cpu/gemm/pack_avx512.h"
#include "tensor/cpu/gemm/pair_block.h"

namespace orthant::cpu::isa_avx512bf16 {
constinit const GemmKernel gemm_bf16 = {.isa = Isa::kAvx512Bf16,
                                        .dtype = DType::kBF16,
                                        .max_height = kBlockRows,
                                        .reads_in_place = true,
                                        .a_width_multiple = PairUnits::kLanes,
                                        .panel = 2 * PairBlock::kLanes,
                                        .k_multiple = 2,
                                        .element_bytes = 2,
                                        .acc_bytes = 4,
                                        .pack_a = pack_interleaved<PairUnits>,
                                        .pack_b = pack_interleaved<PairUnits>,
                                        .sweep = sweep_blocks<PairBlock>};

}  // namespace orthant::cpu::isa_avx512bf16
