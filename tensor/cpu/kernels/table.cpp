// SPDX-License-Identifier: Apache-2.0
// The table of this level, and what all its kernels share.
#include <cstdio>
#include <cstdlib>

#include "tensor/cpu/kernels/kernels.h"
#include "tensor/cpu/kernels/rows.h"

namespace orthant::cpu::ORTHANT_ISA {
namespace {

const char* dtype_name(DType dtype) {
  static const char* const names[] = {"f64", "f32", "bf16", "f16", "f8e4m3",
                                      "i64", "i32", "i8",   "u8"};
  const int index = static_cast<int>(dtype);
  return index >= 0 && index < 9 ? names[index] : "unknown";
}

struct Workspace {
  void* data = nullptr;
  int64_t bytes = 0;
  ~Workspace() { std::free(data); }
};

}  // namespace

int fail(const BackendCall* call, const char* op, const char* what) {
  if (call && call->error && call->error_size > 0)
    std::snprintf(call->error, static_cast<size_t>(call->error_size), "%s: %s", op, what);
  return 1;
}

int fail_dtype(const BackendCall* call, const char* op, DType dtype) {
  if (call && call->error && call->error_size > 0)
    std::snprintf(call->error, static_cast<size_t>(call->error_size),
                  "%s: the cpu backend does not compute in %s", op, dtype_name(dtype));
  return 1;
}

void* scratch(Scratch slot, int64_t bytes) {
  thread_local Workspace spaces[2];
  Workspace& space = spaces[static_cast<int>(slot)];
  if (bytes > space.bytes) {
    std::free(space.data);
    space.bytes = (bytes + bytes / 4 + 4095) / 4096 * 4096;
    space.data = std::aligned_alloc(64, static_cast<size_t>(space.bytes));
    if (!space.data) space.bytes = 0;
  }
  return space.data;
}

void fill_kernels(Backend& table) {
  fill_activation(table);
  fill_attention(table);
  fill_attention_grad(table);
  fill_copy_heads(table);
  fill_cross_entropy(table);
  fill_dequantize(table);
  fill_divergence(table);
  fill_dropout(table);
  fill_elementwise(table);
  fill_embedding(table);
  fill_column_scale(table);
  fill_norm(table);
  fill_optimizer(table);
  fill_rotary(table);
  fill_router(table);
  fill_router_grad(table);
  fill_routed_rows(table);
  fill_softmax(table);
}

}  // namespace orthant::cpu::ORTHANT_ISA
