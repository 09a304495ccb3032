// SPDX-License-Identifier: Apache-2.0
// What all files of the CUDA plugin share: errors, the stream, temporaries, launches, element
// types.
//
// Rules:
// (C1) The plugin links no Orthant library: headers of tensor/ and base/ only as far as they are
//      inline.  No exception crosses the table.
// (C2) Every table function works on stream_of(call).  All threads of a process share one compute
//      stream per device, so that a block which the caching allocator hands on is safe to reuse.
// (C3) One op may launch several kernels while another thread launches its own between them: what
//      they hand to each other lives in a Temporary, never in a buffer that calls share.
// (C4) No kernel runs on an empty grid: launch() returns 0 at once when there is nothing to do.
#pragma once

#include <cuda_runtime_api.h>

#include <cstdint>
#include <cstdio>

#include "tensor/backend.h"

#ifdef __CUDACC__
#define ORTHANT_CUDA_HD __host__ __device__ __forceinline__
#else
#define ORTHANT_CUDA_HD inline
#endif

namespace orthant::cuda {

// --- Errors: each writes "op: what" into call->error and returns 1. -----------------------------

int fail(const BackendCall* call, const char* op, const char* what);
int fail_cuda(const BackendCall* call, const char* op, const char* expression, cudaError_t error);
int fail_dtype(const BackendCall* call, const char* op, DType dtype);

// Returns from the enclosing function when a runtime call fails.
//   CUDA_CHECK(call, "softmax", cudaMemsetAsync(p, 0, n, stream));
#define CUDA_CHECK(call, op, expression)                                          \
  do {                                                                            \
    const cudaError_t cuda_check_error = (expression);                            \
    if (cuda_check_error != cudaSuccess)                                          \
      return ::orthant::cuda::fail_cuda(call, op, #expression, cuda_check_error); \
  } while (false)
// Returns from the enclosing function when a function that has written its own error fails.
#define CUDA_TRY(expression)                                              \
  do {                                                                    \
    if (const int cuda_try_status = (expression)) return cuda_try_status; \
  } while (false)

// ORTHANT_CUDA_SYNC=1 in the environment: wait after every kernel, so that a fault names its op.
bool is_synchronous();

// --- Stream and memory. -------------------------------------------------------------------------

// call->stream, or the compute stream of the calling thread's device.  Null and an error in call on
// failure.
cudaStream_t stream_of(const BackendCall* call, const char* op);
// Between host and device in the order of stream_of(call), small pieces through pinned memory.  On
// return the host memory has been written, or may be written again.
int copy_to_host(const BackendCall* call, const char* op, void* to, const void* from,
                 int64_t bytes);
int copy_to_device(const BackendCall* call, const char* op, void* to, const void* from,
                   int64_t bytes);

// Device memory for the length of one call: given and taken back in the order of the stream.
//   Temporary sums;
//   CUDA_TRY(sums.allocate(call, "rms_norm_grad", bytes));
class Temporary {
 public:
  Temporary() = default;
  ~Temporary() {
    if (data_) cudaFreeAsync(data_, stream_);
  }
  Temporary(const Temporary&) = delete;
  Temporary& operator=(const Temporary&) = delete;
  int allocate(const BackendCall* call, const char* op, int64_t bytes) {
    stream_ = stream_of(call, op);
    if (!stream_) return 1;
    CUDA_CHECK(call, op,
               cudaMallocAsync(&data_, static_cast<size_t>(bytes > 0 ? bytes : 1), stream_));
    return 0;
  }
  template <class T>
  T* as() const {
    return static_cast<T*>(data_);
  }

 private:
  void* data_ = nullptr;
  cudaStream_t stream_ = nullptr;
};

// --- Views as typed rows. -----------------------------------------------------------------------

ORTHANT_CUDA_HD int64_t min_of(int64_t a, int64_t b) { return a < b ? a : b; }
ORTHANT_CUDA_HD int64_t max_of(int64_t a, int64_t b) { return a > b ? a : b; }
ORTHANT_CUDA_HD int64_t ceil_div(int64_t a, int64_t b) { return (a + b - 1) / b; }

// Passed to kernels by value.  A missing optional view has data == nullptr.
template <class T>
struct Rows {
  T* data;
  int64_t rows, cols, stride;
  ORTHANT_CUDA_HD T* operator[](int64_t row) const { return data + row * stride; }
  ORTHANT_CUDA_HD bool is_flat() const { return rows <= 1 || stride == cols; }
  ORTHANT_CUDA_HD int64_t size() const { return rows * cols; }
};
template <class T>
inline Rows<T> rows_of(const View& view) {
  Rows<T> result{static_cast<T*>(view.data), 1, 1, view.row_stride};
  for (int i = 0; i + 1 < view.rank; ++i) result.rows *= view.shape[i];
  if (view.rank > 0) result.cols = view.shape[view.rank - 1];
  return result;
}
inline int64_t numel_of(const View& view) {
  int64_t count = 1;
  for (int i = 0; i < view.rank; ++i) count *= view.shape[i];
  return count;
}

// Calls f with a value of the type of M: f64, f32 or bf16.
//   return with_dtype(call, "add", args->y.dtype, [&]<class M>(M) { ... return launch(...); });
template <class F>
inline int with_dtype(const BackendCall* call, const char* op, DType dtype, F f) {
  switch (dtype) {
    case DType::kF64:
      return f(double{});
    case DType::kF32:
      return f(float{});
    case DType::kBF16:
      return f(bf16{});
    default:
      return fail_dtype(call, op, dtype);
  }
}

// Bytes of an element; 0 for a type that this backend does not know.
constexpr int64_t element_bytes(DType dtype) {
  switch (dtype) {
    case DType::kF64:
    case DType::kI64:
      return 8;
    case DType::kF32:
    case DType::kI32:
      return 4;
    case DType::kBF16:
    case DType::kF16:
      return 2;
    case DType::kF8E4M3:
    case DType::kI8:
    case DType::kU8:
      return 1;
  }
  return 0;
}

// W of M: f64 for f64, else f32.
template <class M>
struct WideOf {
  using type = float;
};
template <>
struct WideOf<double> {
  using type = double;
};
template <class M>
using Wide = typename WideOf<M>::type;

// --- Device code. -------------------------------------------------------------------------------
#ifdef __CUDACC__

inline constexpr int kWarp = 32;

// Rounds as the host's bf16 does (tensor/dtype.h): to nearest, ties to even, NaN stays NaN.
__device__ __forceinline__ float widen(bf16 x) {
  return __uint_as_float(static_cast<uint32_t>(x.bits) << 16);
}
__device__ __forceinline__ float widen(float x) { return x; }
__device__ __forceinline__ double widen(double x) { return x; }
__device__ __forceinline__ void narrow(float x, bf16* y) {
  const uint32_t u = __float_as_uint(x);
  const uint32_t rounded = (u + 0x7FFFu + ((u >> 16) & 1u)) >> 16;
  const uint32_t nan = (u >> 16) | 0x40u;
  y->bits = static_cast<uint16_t>((u & 0x7FFFFFFFu) > 0x7F800000u ? nan : rounded);
}
__device__ __forceinline__ void narrow(double x, bf16* y) { narrow(static_cast<float>(x), y); }
__device__ __forceinline__ void narrow(float x, float* y) { *y = x; }
__device__ __forceinline__ void narrow(double x, float* y) { *y = static_cast<float>(x); }
__device__ __forceinline__ void narrow(double x, double* y) { *y = x; }
__device__ __forceinline__ void narrow(float x, double* y) { *y = static_cast<double>(x); }

// load(x + i) -> W; store(y + i, w).  A bf16 has a constructor, so shared arrays hold W.
template <class M>
__device__ __forceinline__ Wide<M> load(const M* x) {
  return widen(*x);
}
template <class M, class W>
__device__ __forceinline__ void store(M* y, W value) {
  narrow(value, y);
}

// Runs kernel(args...) on stream_of(call) and reports a refused launch.
template <class... Params, class... Args>
int launch(const BackendCall* call, const char* op, void (*kernel)(Params...), dim3 grid,
           dim3 block, size_t shared_bytes, Args&&... args) {
  if (grid.x == 0 || grid.y == 0 || grid.z == 0) return 0;
  cudaStream_t stream = stream_of(call, op);
  if (!stream) return 1;
  if (shared_bytes > 48 * 1024) {
    CUDA_CHECK(call, op,
               cudaFuncSetAttribute(reinterpret_cast<const void*>(kernel),
                                    cudaFuncAttributeMaxDynamicSharedMemorySize,
                                    static_cast<int>(shared_bytes)));
  }
  kernel<<<grid, block, shared_bytes, stream>>>(static_cast<Params>(args)...);
  CUDA_CHECK(call, op, cudaGetLastError());
  if (is_synchronous()) CUDA_CHECK(call, op, cudaStreamSynchronize(stream));
  return 0;
}

// Grid for `count` items at `threads` a block, to be used with a grid-stride loop:
//   for (int64_t i = first_index(); i < n; i += index_step())
inline dim3 grid_for(int64_t count, int threads) {
  return dim3(static_cast<unsigned>(min_of(ceil_div(count, threads), 1 << 20)));
}
// One block per row; rows beyond the grid's limit are reached by a stride of gridDim.x.
inline dim3 grid_for_rows(int64_t rows) {
  return dim3(static_cast<unsigned>(min_of(rows, (int64_t{1} << 31) - 1)));
}
__device__ __forceinline__ int64_t first_index() {
  return static_cast<int64_t>(blockIdx.x) * blockDim.x + threadIdx.x;
}
__device__ __forceinline__ int64_t index_step() {
  return static_cast<int64_t>(gridDim.x) * blockDim.x;
}

#endif  // __CUDACC__

}  // namespace orthant::cuda
