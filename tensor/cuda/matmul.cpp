// SPDX-License-Identifier: Apache-2.0
// Dense and per-expert products by cuBLASLt.  Sums are kept in f64 for f64, else in f32; nothing is
// rounded to TF32.
#include <cstdint>
#include <memory>
#include <string>
#include <tuple>
#include <unordered_map>

#include "tensor/cuda/device.h"
#include "tensor/cuda/dtypes.h"
#include "tensor/cuda/matmul_plan.h"

namespace orthant::cuda {
namespace {

constexpr uint64_t kMaxWorkspaceBytes = 32 << 20;
constexpr size_t kMaxCachedPlans = 16384;
// Kernels that multiply and add in f32.
constexpr uint64_t kFullF32 = CUBLASLT_NUMERICAL_IMPL_FLAGS_FMA |
                              CUBLASLT_NUMERICAL_IMPL_FLAGS_ACCUMULATOR_32F |
                              CUBLASLT_NUMERICAL_IMPL_FLAGS_INPUT_32F;

int fail_cublas(const BackendCall* call, const char* op, const char* what, cublasStatus_t status) {
  const std::string text = std::string(what) + ": " + cublasLtGetStatusString(status);
  return fail(call, op, text.c_str());
}
#define CUBLAS_CHECK(call, op, expression)                      \
  do {                                                          \
    const cublasStatus_t cublas_status = (expression);          \
    if (cublas_status != CUBLAS_STATUS_SUCCESS)                 \
      return fail_cublas(call, op, #expression, cublas_status); \
  } while (false)

template <class T, cublasStatus_t (*destroy)(T)>
struct Handle {
  T value = nullptr;
  Handle() = default;
  ~Handle() {
    if (value) destroy(value);
  }
  Handle(const Handle&) = delete;
  Handle& operator=(const Handle&) = delete;
};
using Layout = Handle<cublasLtMatrixLayout_t, cublasLtMatrixLayoutDestroy>;
using Description = Handle<cublasLtMatmulDesc_t, cublasLtMatmulDescDestroy>;
using Preference = Handle<cublasLtMatmulPreference_t, cublasLtMatmulPreferenceDestroy>;

// A product with its memory; data in the order of the plan.
struct Product {
  MatmulPlan plan;
  DType dtype, out_dtype;
  const void* first;
  const void* second;
  void* result;
  bool accumulate;
};

// What an algorithm is chosen for.
struct Key {
  int device;
  DType dtype, out_dtype;
  bool transpose_first, transpose_second, accumulate;
  int64_t m, n, k, ld_first, ld_second, ld_result;
  uint32_t align_first, align_second, align_result;
  bool operator==(const Key&) const = default;
};
struct KeyHash {
  size_t operator()(const Key& key) const {
    uint64_t hash = 0x9E3779B97F4A7C15u;
    const auto add = [&](auto value) {
      hash = (hash ^ static_cast<uint64_t>(value)) * 0xFF51AFD7ED558CCDu;
      hash ^= hash >> 32;
    };
    add(key.device), add(key.dtype), add(key.out_dtype), add(key.transpose_first);
    add(key.transpose_second), add(key.accumulate), add(key.m), add(key.n), add(key.k);
    add(key.ld_first), add(key.ld_second), add(key.ld_result);
    add(key.align_first), add(key.align_second), add(key.align_result);
    return static_cast<size_t>(hash);
  }
};

uint32_t alignment_of(const void* pointer) {  // the largest power of two, up to 256 bytes
  const auto address = reinterpret_cast<uintptr_t>(pointer) | 256u;
  return static_cast<uint32_t>(address & (~address + 1));
}

// A product that is ready to run: never changed after it was made, so threads share it.
struct Prepared {
  Description description;
  Layout first, second, result;
  cublasLtMatmulAlgo_t algorithm;
  size_t workspace_bytes = 0;
};

int data_type(const BackendCall* call, const char* op, DType dtype, cudaDataType_t* type) {
  switch (dtype) {
    case DType::kF64:
      return *type = CUDA_R_64F, 0;
    case DType::kF32:
      return *type = CUDA_R_32F, 0;
    case DType::kBF16:
      return *type = CUDA_R_16BF, 0;
    default:
      return fail(call, op, refusal_of(dtype).c_str());
  }
}

int make_layout(const BackendCall* call, const char* op, DType dtype, const ColumnMajor& matrix,
                Layout& layout) {
  cudaDataType_t type;
  CUDA_TRY(data_type(call, op, dtype, &type));
  CUBLAS_CHECK(call, op,
               cublasLtMatrixLayoutCreate(&layout.value, type, static_cast<uint64_t>(matrix.rows),
                                          static_cast<uint64_t>(matrix.cols), matrix.ld));
  return 0;
}

std::string text_of(const Product& p) {
  const auto side = [](const char* name, const ColumnMajor& matrix, bool transposed) {
    return std::string(name) + " [" + std::to_string(matrix.cols) + ", " +
           std::to_string(matrix.rows) + "] stride " + std::to_string(matrix.ld) +
           (transposed ? " transposed" : "");
  };
  return side("a", p.plan.second, p.plan.transpose_second) + ", " +
         side("b", p.plan.first, p.plan.transpose_first);
}

// The best algorithm of what description and preference allow.
cublasStatus_t find_algorithm(const DeviceState& device, const Preference& preference,
                              Prepared& prepared) {
  cublasLtMatmulHeuristicResult_t best = {};
  int found = 0;
  const cublasStatus_t status = cublasLtMatmulAlgoGetHeuristic(
      device.cublas, prepared.description.value, prepared.first.value, prepared.second.value,
      prepared.result.value, prepared.result.value, preference.value, 1, &best, &found);
  if (status != CUBLAS_STATUS_SUCCESS) return status;
  if (found == 0) return CUBLAS_STATUS_NOT_SUPPORTED;
  prepared.algorithm = best.algo;
  prepared.workspace_bytes = best.workspaceSize;
  return best.state;
}

int choose(const BackendCall* call, const char* op, const DeviceState& device, const Product& p,
           const Key& key, Prepared& prepared) {
  const bool is_f64 = p.dtype == DType::kF64;
  // Pedantic: no reduced precision and no emulation, whatever the environment asks for.
  const cublasComputeType_t compute = is_f64                   ? CUBLAS_COMPUTE_64F
                                      : p.dtype == DType::kF32 ? CUBLAS_COMPUTE_32F_PEDANTIC
                                                               : CUBLAS_COMPUTE_32F;
  CUBLAS_CHECK(call, op,
               cublasLtMatmulDescCreate(&prepared.description.value, compute,
                                        is_f64 ? CUDA_R_64F : CUDA_R_32F));
  const auto set = [&](cublasLtMatmulDescAttributes_t attribute, bool transpose) {
    const cublasOperation_t operation = transpose ? CUBLAS_OP_T : CUBLAS_OP_N;
    return cublasLtMatmulDescSetAttribute(prepared.description.value, attribute, &operation,
                                          sizeof(operation));
  };
  CUBLAS_CHECK(call, op, set(CUBLASLT_MATMUL_DESC_TRANSA, p.plan.transpose_first));
  CUBLAS_CHECK(call, op, set(CUBLASLT_MATMUL_DESC_TRANSB, p.plan.transpose_second));
  CUDA_TRY(make_layout(call, op, p.dtype, p.plan.first, prepared.first));
  CUDA_TRY(make_layout(call, op, p.dtype, p.plan.second, prepared.second));
  CUDA_TRY(make_layout(call, op, p.out_dtype, p.plan.result, prepared.result));
  Preference preference;
  CUBLAS_CHECK(call, op, cublasLtMatmulPreferenceCreate(&preference.value));
  const auto prefer = [&](cublasLtMatmulPreferenceAttributes_t attribute, const auto& value) {
    return cublasLtMatmulPreferenceSetAttribute(preference.value, attribute, &value, sizeof(value));
  };
  CUBLAS_CHECK(call, op, prefer(CUBLASLT_MATMUL_PREF_MAX_WORKSPACE_BYTES, kMaxWorkspaceBytes));
  CUBLAS_CHECK(call, op, prefer(CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_A_BYTES, key.align_first));
  CUBLAS_CHECK(call, op, prefer(CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_B_BYTES, key.align_second));
  CUBLAS_CHECK(call, op, prefer(CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_C_BYTES, key.align_result));
  CUBLAS_CHECK(call, op, prefer(CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_D_BYTES, key.align_result));
  cublasStatus_t status = find_algorithm(device, preference, prepared);
  if (status != CUBLAS_STATUS_SUCCESS && p.dtype == DType::kF32) {
    // Not pedantic, but fused multiply-adds of f32 into f32 and nothing else: never TF32.
    const cublasComputeType_t plain = CUBLAS_COMPUTE_32F;
    CUBLAS_CHECK(
        call, op,
        cublasLtMatmulDescSetAttribute(prepared.description.value,
                                       CUBLASLT_MATMUL_DESC_COMPUTE_TYPE, &plain, sizeof(plain)));
    CUBLAS_CHECK(call, op, prefer(CUBLASLT_MATMUL_PREF_IMPL_MASK, kFullF32));
    status = find_algorithm(device, preference, prepared);
    static std::once_flag said;
    if (status == CUBLAS_STATUS_SUCCESS)
      std::call_once(said, [&] {
        log_line("cuBLASLt has no pedantic f32 algorithm for " + text_of(p) +
                 " on cuda:" + std::to_string(current_device()) +
                 ": such products use its other f32 kernels, which do not round to TF32");
      });
  }
  if (status != CUBLAS_STATUS_SUCCESS) {
    const std::string what = "cuBLASLt has no algorithm for " + text_of(p);
    return fail_cublas(call, op, what.c_str(), status);
  }
  return 0;
}

// The prepared product of a key; made on its first use.
int find(const BackendCall* call, const char* op, const DeviceState& device, const Product& p,
         std::shared_ptr<const Prepared>& result) {
  using Cache = std::unordered_map<Key, std::shared_ptr<const Prepared>, KeyHash>;
  static auto* mutex = new std::mutex;
  static auto* cache = new Cache;
  const Key key{.device = current_device(),
                .dtype = p.dtype,
                .out_dtype = p.out_dtype,
                .transpose_first = p.plan.transpose_first,
                .transpose_second = p.plan.transpose_second,
                .accumulate = p.accumulate,
                .m = p.plan.m,
                .n = p.plan.n,
                .k = p.plan.k,
                .ld_first = p.plan.first.ld,
                .ld_second = p.plan.second.ld,
                .ld_result = p.plan.result.ld,
                .align_first = alignment_of(p.first),
                .align_second = alignment_of(p.second),
                .align_result = alignment_of(p.result)};
  const std::lock_guard lock(*mutex);
  if (const auto found = cache->find(key); found != cache->end()) {
    result = found->second;
    return 0;
  }
  auto made = std::make_shared<Prepared>();
  CUDA_TRY(choose(call, op, device, p, key, *made));
  if (cache->size() >= kMaxCachedPlans) cache->clear();  // experts' rows differ from step to step
  cache->emplace(key, made);
  result = std::move(made);
  return 0;
}

int zero_result(const BackendCall* call, const char* op, const Product& p) {
  cudaStream_t stream = stream_of(call, op);
  if (!stream) return 1;
  const auto element = static_cast<size_t>(element_bytes(p.out_dtype));
  CUDA_CHECK(call, op,
             cudaMemset2DAsync(p.result, static_cast<size_t>(p.plan.result.ld) * element, 0,
                               static_cast<size_t>(p.plan.m) * element,
                               static_cast<size_t>(p.plan.n), stream));
  return 0;
}

int run(const BackendCall* call, const char* op, const Product& p) {
  if (p.plan.m == 0 || p.plan.n == 0) return 0;
  if (p.plan.k == 0) return p.accumulate ? 0 : zero_result(call, op, p);
  const DeviceState* device = device_state(call, op);
  if (!device) return 1;
  std::shared_ptr<const Prepared> prepared;
  CUDA_TRY(find(call, op, *device, p, prepared));
  Temporary workspace;
  if (prepared->workspace_bytes > 0) {
    CUDA_TRY(workspace.allocate(call, op, static_cast<int64_t>(prepared->workspace_bytes)));
  }
  const double one64 = 1, beta64 = p.accumulate ? 1 : 0;
  const float one32 = 1, beta32 = p.accumulate ? 1.0f : 0.0f;
  const bool is_f64 = p.dtype == DType::kF64;
  const void* alpha = is_f64 ? static_cast<const void*>(&one64) : &one32;
  const void* beta = is_f64 ? static_cast<const void*>(&beta64) : &beta32;
  cudaStream_t stream = stream_of(call, op);
  if (!stream) return 1;
  const cublasStatus_t status =
      cublasLtMatmul(device->cublas, prepared->description.value, alpha, p.first,
                     prepared->first.value, p.second, prepared->second.value, beta, p.result,
                     prepared->result.value, p.result, prepared->result.value, &prepared->algorithm,
                     workspace.as<void>(), prepared->workspace_bytes, stream);
  if (status != CUBLAS_STATUS_SUCCESS) return fail_cublas(call, op, text_of(p).c_str(), status);
  if (is_synchronous()) CUDA_CHECK(call, op, cudaStreamSynchronize(stream));
  return 0;
}

int matmul(const BackendCall* call, const MatmulArgs* args) {
  return run(call, "matmul",
             {.plan = plan_matmul(product_of(*args)),
              .dtype = args->a.dtype,
              .out_dtype = args->c.dtype,
              .first = args->b.data,
              .second = args->a.data,
              .result = args->c.data,
              .accumulate = args->accumulate != 0});
}

// Side streams that begin behind the work of `stream`; join() makes `stream` wait for them.
class Branches {
 public:
  Branches(DeviceState& device, cudaStream_t stream)
      : device_(device), stream_(stream), lock_(device.branch_mutex) {}
  int fork(const BackendCall* call, const char* op) {
    CUDA_CHECK(call, op, cudaEventRecord(device_.forked, stream_));
    for (cudaStream_t branch : device_.branches)
      CUDA_CHECK(call, op, cudaStreamWaitEvent(branch, device_.forked, 0));
    return 0;
  }
  int join(const BackendCall* call, const char* op) {
    for (size_t i = 0; i < device_.branches.size(); ++i) {
      CUDA_CHECK(call, op, cudaEventRecord(device_.branch_done[i], device_.branches[i]));
      CUDA_CHECK(call, op, cudaStreamWaitEvent(stream_, device_.branch_done[i], 0));
    }
    return 0;
  }

 private:
  DeviceState& device_;
  cudaStream_t stream_;
  std::lock_guard<std::mutex> lock_;
};

Product product_of_expert(const GroupedMatmulArgs& args, int64_t expert) {
  const ExpertProduct part = expert_product(args, expert);
  const auto at = [&](Operand operand, int64_t offset) -> char* {
    const View& view = operand == Operand::kX ? args.x : operand == Operand::kW ? args.w : args.y;
    return view.data ? static_cast<char*>(view.data) + offset * element_bytes(view.dtype) : nullptr;
  };
  return {.plan = plan_matmul(part.product),
          .dtype = args.x.dtype,
          .out_dtype = part.c == Operand::kW ? args.w.dtype : args.y.dtype,
          .first = at(part.b, part.b_offset),
          .second = at(part.a, part.a_offset),
          .result = at(part.c, part.c_offset),
          .accumulate = args.accumulate != 0};
}

int grouped_matmul(const BackendCall* call, const GroupedMatmulArgs* args) {
  static constexpr char op[] = "grouped_matmul";
  const int64_t experts = args->w.shape[0];
  DeviceState* device = device_state(call, op);
  if (!device) return 1;
  cudaStream_t stream = stream_of(call, op);
  if (!stream) return 1;
  if (experts == 1) return run(call, op, product_of_expert(*args, 0));
  Branches branches(*device, stream);
  CUDA_TRY(branches.fork(call, op));
  int status = 0;
  for (int64_t expert = 0; expert < experts && status == 0; ++expert) {
    BackendCall on_branch = *call;
    on_branch.stream = device->branches[static_cast<size_t>(expert % kNumBranches)];
    status = run(&on_branch, op, product_of_expert(*args, expert));
  }
  // After a failure too: what was started must not outrun the stream.
  const int joined = branches.join(status == 0 ? call : nullptr, op);
  return status ? status : joined;
}

}  // namespace

void fill_matmul(Backend& table) {
  table.matmul = matmul;
  table.grouped_matmul = grouped_matmul;
}

}  // namespace orthant::cuda
