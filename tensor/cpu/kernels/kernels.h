// SPDX-License-Identifier: Apache-2.0
// The kernels of the CPU backend.  Every .cpp of this folder is compiled once per instruction-set
// level, each time into the namespace named by ORTHANT_ISA; backend.cpp picks one at run time.
//
// Rules for these files (docs/numerics.md):
// (K1) A result depends on its row alone: not on the number of threads nor on other rows.
// (K2) Reductions use a fixed number of lanes, joined in a fixed order.
// (K3) No inline function or template of another namespace may be emitted here: the linker could
//      give the AVX-512 copy of it to baseline code.  Helpers are in simd.h and rows.h.
#pragma once

#include "tensor/backend.h"

namespace orthant::cpu {

namespace isa_scalar {
void fill_kernels(Backend& table);
}
namespace isa_avx512 {
void fill_kernels(Backend& table);
}

#ifdef ORTHANT_ISA
namespace ORTHANT_ISA {
void fill_activation(Backend& table);
void fill_attention(Backend& table);
void fill_attention_grad(Backend& table);
void fill_column_scale(Backend& table);
void fill_copy_heads(Backend& table);
void fill_cross_entropy(Backend& table);
void fill_dequantize(Backend& table);
void fill_divergence(Backend& table);
void fill_dropout(Backend& table);
void fill_elementwise(Backend& table);
void fill_embedding(Backend& table);
void fill_norm(Backend& table);
void fill_optimizer(Backend& table);
void fill_rotary(Backend& table);
void fill_router(Backend& table);
void fill_router_grad(Backend& table);
void fill_routed_rows(Backend& table);
void fill_softmax(Backend& table);

// Workspace of the calling thread, 64-byte aligned, kept for its next call; valid until the thread
// asks for the same slot again.  Null when memory is exhausted.  A kernel uses kShared outside and
// kLocal inside a parallel loop.
enum class Scratch { kShared, kLocal };
void* scratch(Scratch slot, int64_t bytes);
}  // namespace ORTHANT_ISA
#endif

}  // namespace orthant::cpu
