// SPDX-License-Identifier: Apache-2.0
// The table of the CPU backend: kernels of the active instruction-set level, matrix products of
// tensor/cpu/gemm.h, plain host memory.
#include "tensor/backend.h"

#include <sys/mman.h>

#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <exception>
#include <memory>
#include <vector>

#include "tensor/cpu/drop_tokens.h"
#include "tensor/cpu/gemm.h"
#include "tensor/cpu/isa.h"
#include "tensor/cpu/kernels/kernels.h"

namespace orthant {
namespace {

using cpu::PackedMatrix;
using cpu::PackedMatrixPtr;

int fail(const BackendCall* call, const char* text) {
  if (call && call->error && call->error_size > 0)
    std::snprintf(call->error, static_cast<size_t>(call->error_size), "%s", text);
  return 1;
}

// No exception crosses the table.
template <class F>
int guarded(const BackendCall* call, F body) {
  try {
    body();
    return 0;
  } catch (const std::exception& error) {
    return fail(call, error.what());
  } catch (...) {
    return fail(call, "unknown error");
  }
}

// Big blocks in huge pages: fewer faults when they are new, fewer misses of the address cache.
int allocate(const BackendCall* call, int64_t bytes, void** block) {
  constexpr size_t kHugePage = 2 << 20;
  const size_t wanted = bytes > 0 ? static_cast<size_t>(bytes) : 1;
  const size_t alignment = wanted >= 2 * kHugePage ? kHugePage : 64;
  const size_t rounded = (wanted + alignment - 1) / alignment * alignment;
  *block = std::aligned_alloc(alignment, rounded);
  if (!*block) return fail(call, "allocate: out of host memory");
  if (alignment == kHugePage) madvise(*block, rounded, MADV_HUGEPAGE);
  return 0;
}

int describe_device(const BackendCall*, int32_t, BackendDevice* device) {
  *device = {};
  std::snprintf(device->name, sizeof(device->name), "processor");
  return 0;
}

int deallocate(const BackendCall*, void* block) {
  std::free(block);
  return 0;
}

int copy(const BackendCall*, void* to, const void* from, int64_t bytes) {
  if (bytes > 0) std::memcpy(to, from, static_cast<size_t>(bytes));
  return 0;
}

int synchronize(const BackendCall*) { return 0; }

bool is_packable(DType dtype) {
  return dtype == DType::kF64 || dtype == DType::kF32 || dtype == DType::kBF16;
}

// A weight [out, in] is one packed matrix, [E, out, in] one per expert.
struct PreparedWeight {
  std::vector<PackedMatrixPtr> owners;
  std::vector<const PackedMatrix*> matrices;
};

int prepare(const BackendCall* call, const View* weight, WeightForm form, void** prepared) {
  *prepared = nullptr;
  const int rank = weight->rank;
  if (!is_packable(weight->dtype) || (rank != 2 && rank != 3)) return 0;
  return guarded(call, [&] {
    const int64_t experts = rank == 3 ? weight->shape[0] : 1;
    const int64_t out = weight->shape[rank - 2], in = weight->shape[rank - 1];
    const int64_t expert_bytes = out * weight->row_stride * size_of(weight->dtype);
    auto result = std::make_unique<PreparedWeight>();
    for (int64_t e = 0; e < experts; ++e) {
      const char* data = static_cast<const char*>(weight->data) + e * expert_bytes;
      const bool forward = form == WeightForm::kForward;  // op(B) = w^T [in, out]; else w [out, in]
      result->owners.push_back(cpu::pack_matrix(weight->dtype, forward ? in : out,
                                                forward ? out : in, data, weight->row_stride,
                                                forward));
      result->matrices.push_back(result->owners.back().get());
    }
    *prepared = result.release();
  });
}

void release(void* prepared) { delete static_cast<PreparedWeight*>(prepared); }

int64_t prepared_bytes(const void* prepared) {
  if (!prepared) return 0;
  int64_t bytes = 0;
  for (const PackedMatrix* matrix : static_cast<const PreparedWeight*>(prepared)->matrices)
    bytes += cpu::packed_bytes(*matrix);
  return bytes;
}

int matmul(const BackendCall* call, const MatmulArgs* args) {
  return guarded(call, [&] {
    const auto* prepared = static_cast<const PreparedWeight*>(args->prepared_b);
    cpu::gemm({.m = args->c.shape[0],
               .n = args->c.shape[1],
               .k = args->a.shape[args->trans_a ? 0 : 1],
               .dtype = args->a.dtype,
               .out_dtype = args->c.dtype,
               .a = args->a.data,
               .lda = args->a.row_stride,
               .trans_a = args->trans_a != 0,
               .b = args->b.data,
               .ldb = args->b.row_stride,
               .trans_b = args->trans_b != 0,
               .packed_b = prepared ? prepared->matrices[0] : nullptr,
               .c = args->c.data,
               .ldc = args->c.row_stride,
               .accumulate = args->accumulate != 0});
  });
}

int grouped_matmul(const BackendCall* call, const GroupedMatmulArgs* args) {
  return guarded(call, [&] {
    const auto* prepared = static_cast<const PreparedWeight*>(args->prepared_w);
    const auto form = args->form == ProductForm::kForward    ? cpu::GroupedForm::kForward
                      : args->form == ProductForm::kDataGrad ? cpu::GroupedForm::kDataGrad
                                                             : cpu::GroupedForm::kWeightGrad;
    cpu::grouped_gemm({.form = form,
                       .num_experts = args->w.shape[0],
                       .in = args->w.shape[2],
                       .out = args->w.shape[1],
                       .offsets = args->offsets,
                       .dtype = args->x.dtype,
                       .w_dtype = args->w.dtype,
                       .x = args->x.data,
                       .ldx = args->x.row_stride,
                       .y = args->y.data,
                       .ldy = args->y.row_stride,
                       .w = args->w.data,
                       .packed_w = prepared ? prepared->matrices.data() : nullptr,
                       .accumulate = args->accumulate != 0});
  });
}

Backend make_table() {
  Backend table{};
  table.name = "cpu";
  table.version = kBackendVersion;
  table.libraries = "own kernels";
  table.device_count = [](const BackendCall*, int32_t* count) { return *count = 1, 0; };
  table.describe_device = describe_device;
  table.use_device = [](const BackendCall*, int32_t) { return 0; };
  table.allocate = allocate;
  table.deallocate = deallocate;
  table.allocate_host = allocate;
  table.deallocate_host = deallocate;
  table.copy = copy;
  table.synchronize = synchronize;
  table.prepare = prepare;
  table.release = release;
  table.prepared_bytes = prepared_bytes;
  table.matmul = matmul;
  table.grouped_matmul = grouped_matmul;
  table.drop_tokens = cpu::drop_tokens;
  if (cpu::uses_avx512()) {
    cpu::isa_avx512::fill_kernels(table);
  } else {
    cpu::isa_scalar::fill_kernels(table);
  }
  return table;
}

}  // namespace

const Backend& cpu_backend() {
  static const Backend table = make_table();
  return table;
}

}  // namespace orthant
