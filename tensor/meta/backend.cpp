// SPDX-License-Identifier: Apache-2.0
// The device "meta": tensors have shapes and are counted in the ledger, but there is no memory
// behind them and ops compute nothing.  What a program would hold is found by running it there.
//
// (I1) What is copied to the host is zeros, but for blocks of 64 bytes: these have memory, so that
// scalars keep their values.
// (I2) Weights are prepared as on the CPU, and tokens choose experts evenly: sizes that follow from
// values are those of a balanced router.
#include "tensor/backend.h"

#include <atomic>
#include <cstdlib>
#include <cstring>

#include "tensor/cpu/gemm.h"

namespace orthant {
namespace {

constexpr int64_t kRealBytes = 64;
constexpr uintptr_t kFirstAddress = uintptr_t{1} << 60;  // no process has memory there

bool is_real(const void* address) { return reinterpret_cast<uintptr_t>(address) < kFirstAddress; }

int allocate(const BackendCall*, int64_t bytes, void** block) {
  static std::atomic<uintptr_t> next{kFirstAddress};
  *block =
      bytes <= kRealBytes
          ? std::calloc(1, kRealBytes)
          : reinterpret_cast<void*>(next.fetch_add((static_cast<uintptr_t>(bytes) + 63) / 64 * 64));
  return *block ? 0 : 1;
}

int deallocate(const BackendCall*, void* block) {
  if (is_real(block)) std::free(block);
  return 0;
}

int copy(const BackendCall*, void* to, const void* from, int64_t bytes) {
  if (!is_real(to) || bytes <= 0) return 0;
  if (is_real(from)) {
    std::memcpy(to, from, static_cast<size_t>(bytes));
  } else {
    std::memset(to, 0, static_cast<size_t>(bytes));
  }
  return 0;
}

// A prepared weight is its number of bytes.
int prepare(const BackendCall*, const View* weight, WeightForm form, void** prepared) {
  *prepared = nullptr;
  if (weight->rank != 2 && weight->rank != 3) return 0;
  const int64_t experts = weight->rank == 3 ? weight->shape[0] : 1;
  const int64_t out = weight->shape[weight->rank - 2], in = weight->shape[weight->rank - 1];
  const bool forward = form == WeightForm::kForward;
  *prepared = new int64_t(experts *
                          cpu::packed_bytes(weight->dtype, forward ? in : out, forward ? out : in));
  return 0;
}

void release(void* prepared) { delete static_cast<int64_t*>(prepared); }
int64_t prepared_bytes(const void* prepared) {
  return prepared ? *static_cast<const int64_t*>(prepared) : 0;
}

int describe_device(const BackendCall*, int32_t, BackendDevice* device) {
  *device = {};
  std::strncpy(device->name, "meta", sizeof(device->name) - 1);
  return 0;
}

int dispatch_plan(const BackendCall*, const DispatchPlanArgs* args) {
  const int64_t rows = args->ids.shape[0] * args->ids.shape[1];
  for (int64_t e = 0; e <= args->num_experts; ++e) args->offsets[e] = rows * e / args->num_experts;
  return 0;
}

Backend make_table() {
  Backend table{};
  table.version = kBackendVersion;
  table.name = "meta";
  table.libraries = "none";
  table.device_count = [](const BackendCall*, int32_t* count) { return *count = 1, 0; };
  table.describe_device = describe_device;
  table.use_device = [](const BackendCall*, int32_t) { return 0; };
  table.allocate = table.allocate_host = allocate;
  table.deallocate = table.deallocate_host = deallocate;
  table.copy = copy;
  table.synchronize = [](const BackendCall*) { return 0; };
  table.prepare = prepare;
  table.release = release;
  table.prepared_bytes = prepared_bytes;
#define ORTHANT_DO_NOTHING(op, Args) table.op = [](const BackendCall*, const Args*) { return 0; };
  ORTHANT_OPS(ORTHANT_DO_NOTHING)
#undef ORTHANT_DO_NOTHING
  table.dispatch_plan = dispatch_plan;
  return table;
}

}  // namespace

const Backend& meta_backend() {
  static const Backend table = make_table();
  return table;
}

}  // namespace orthant
