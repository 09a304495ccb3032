// SPDX-License-Identifier: Apache-2.0
// Plain C++ for any x86-64: bf16 is widened while packing; the compiler vectorises the columns.
#include "tensor/cpu/gemm/kernels.h"

namespace orthant::cpu::isa_scalar {
namespace {

constexpr int64_t kHeight = 4, kPanel = 8;

float widen(bf16 value) { return static_cast<float>(value); }
float widen(float value) { return value; }
double widen(double value) { return value; }

// In: stored type; Acc: type of packed elements and sums.
template <class In, class Acc>
void pack(const GemmPack& job) {
  const In* src = static_cast<const In*>(job.src);
  Acc* dst = static_cast<Acc*>(job.dst);
  const int64_t step_k = job.k_contiguous ? 1 : job.ld, step = job.k_contiguous ? job.ld : 1;
  for (int64_t first = 0; first < job.count; first += job.step, dst += job.width * job.k) {
    for (int64_t k = 0; k < job.k; ++k) {
      for (int64_t i = 0; i < job.width; ++i) {
        const bool inside = first + i < job.count;
        dst[k * job.width + i] = inside ? widen(src[(first + i) * step + k * step_k]) : Acc{0};
      }
    }
  }
}

template <class Acc>
void finish(const GemmSweep& job, const Acc* sums, int64_t row) {
  for (int64_t j = 0; j < job.cols; ++j) {
    const int64_t at = row * job.ldc + j;
    if (job.c_bf16) {
      bf16& c = static_cast<bf16*>(job.c)[at];
      const float sum = static_cast<float>(sums[j]);
      c = bf16(job.accumulate ? widen(c) + sum : sum);
    } else {
      Acc& c = static_cast<Acc*>(job.c)[at];
      c = job.accumulate ? c + sums[j] : sums[j];
    }
  }
}

template <class Acc>
void sweep(const GemmSweep& job) {
  const Acc* a = static_cast<const Acc*>(job.a);
  Acc* acc = static_cast<Acc*>(job.acc);
  const int64_t step_row = job.a_row_bytes / int64_t{sizeof(Acc)};
  const int64_t step_k = job.a_unit_bytes / int64_t{sizeof(Acc)};
  for (int64_t row = 0; row < job.rows; row += job.height) {
    const int64_t height = job.rows - row < job.height ? job.rows - row : job.height;
    Acc sums[kHeight][kPanel] = {};
    if (!job.first) __builtin_memcpy(sums, acc, sizeof(sums));
    const Acc* b = static_cast<const Acc*>(job.b);
    for (int64_t k = 0; k < job.k; ++k, b += kPanel) {
      for (int64_t i = 0; i < height; ++i) {
        const Acc x = a[i * step_row + k * step_k];
        for (int64_t j = 0; j < kPanel; ++j) sums[i][j] += x * b[j];
      }
    }
    if (job.last) {
      for (int64_t i = 0; i < height; ++i) finish(job, sums[i], row + i);
    } else {
      __builtin_memcpy(acc, sums, sizeof(sums));
    }
    a += job.a_block_bytes / int64_t{sizeof(Acc)};
    acc += job.acc_stride;
  }
}

template <class In, class Acc>
constexpr GemmKernel make_kernel() {
  return {.isa = Isa::kScalar,
          .dtype = dtype_of<In>,
          .max_height = kHeight,
          .reads_in_place = sizeof(In) == sizeof(Acc),
          .panel = kPanel,
          .element_bytes = sizeof(Acc),
          .acc_bytes = sizeof(Acc),
          .pack_a = pack<In, Acc>,
          .pack_b = pack<In, Acc>,
          .sweep = sweep<Acc>};
}

}  // namespace

constinit const GemmKernel gemm_f64 = make_kernel<double, double>();
constinit const GemmKernel gemm_f32 = make_kernel<float, float>();
constinit const GemmKernel gemm_bf16 = make_kernel<bf16, float>();

}  // namespace orthant::cpu::isa_scalar
