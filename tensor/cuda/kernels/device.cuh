// SPDX-License-Identifier: Apache-2.0
// The executor of the device: launches bodies on the call's stream, one thread per element or one
// warp per row; scratch memory, checks and small copies in the order of the stream.
#pragma once

#include <cuda_runtime.h>

#include <deque>

#include "tensor/cuda/common.h"
#include "tensor/cuda/kernels/element.h"
#include "tensor/cuda/kernels/launch.h"

namespace orthant::cuda::kernels {

// The lanes of one warp; see (T1) to (T3) in element.h.  Sums join lane partials in a butterfly:
// all lanes get the same bits, as addition commutes.
struct WarpTeam {
  ORTHANT_HD static int64_t lane() {
#ifdef __CUDA_ARCH__
    return threadIdx.x % 32;
#else
    return 0;
#endif
  }
  ORTHANT_HD static void barrier() {
#ifdef __CUDA_ARCH__
    __syncwarp();
#endif
  }
  template <class T>
  ORTHANT_HD static T from_lane_xor(T value, int mask) {
#ifdef __CUDA_ARCH__
    return __shfl_xor_sync(0xFFFFFFFFu, value, mask);
#else
    return value;
#endif
  }

  template <class F>
  ORTHANT_HD void each(int64_t n, F f) const {
    for (int64_t i = lane(); i < n; i += kWarp) f(i);
    barrier();
  }
  template <class F>
  ORTHANT_HD void once(F f) const {
    if (lane() == 0) f();
    barrier();
  }
  template <class T, class F>
  ORTHANT_HD T sum(int64_t n, F f) const {
    T total = 0;
    for (int64_t i = lane(); i < n; i += kWarp) total += f(i);
    for (int mask = 16; mask > 0; mask /= 2) total += from_lane_xor(total, mask);
    barrier();
    return total;
  }
  // -infinity when there is nothing; NaN is passed over.
  template <class T, class F>
  ORTHANT_HD T max(int64_t n, F f) const {
    T best = static_cast<T>(-kInfinity);
    for (int64_t i = lane(); i < n; i += kWarp) {
      const T x = f(i);
      best = x > best ? x : best;
    }
    for (int mask = 16; mask > 0; mask /= 2) {
      const T x = from_lane_xor(best, mask);
      best = x > best ? x : best;
    }
    barrier();
    return best;
  }
  // The lowest i with f(i), or n.
  template <class F>
  ORTHANT_HD int64_t first(int64_t n, F f) const {
    int64_t best = n;
    for (int64_t i = lane(); i < n && best == n; i += kWarp)
      if (f(i)) best = i;
    for (int mask = 16; mask > 0; mask /= 2) {
      const int64_t x = from_lane_xor(best, mask);
      best = x < best ? x : best;
    }
    barrier();
    return best;
  }
};

template <class Body>
__global__ void __launch_bounds__(kBlockThreads) elements_kernel(int64_t n, Body body) {
  const int64_t step = static_cast<int64_t>(gridDim.x) * blockDim.x;
  for (int64_t i = static_cast<int64_t>(blockIdx.x) * blockDim.x + threadIdx.x; i < n; i += step)
    body(i);
}

template <class Body>
__global__ void __launch_bounds__(kBlockThreads)
    rows_kernel(int64_t rows, int64_t scratch_bytes, Body body) {
  extern __shared__ __align__(16) unsigned char shared[];
  const int64_t warps = blockDim.x / kWarp, warp = threadIdx.x / kWarp;
  void* scratch = shared + warp * scratch_bytes;
  for (int64_t row = blockIdx.x * warps + warp; row < rows; row += gridDim.x * warps)
    body(WarpTeam{}, row, scratch);
}

template <class Predicate>
struct RaiseFlag {
  Predicate predicate;
  int32_t* flag;
  ORTHANT_HD void operator()(int64_t i) const {
    if (predicate(i)) *flag = 1;
  }
};

// Runs kernel(args...) on stream_of(call) and reports a refused launch.
template <class... Params>
int launch(const BackendCall* call, const char* op, void (*kernel)(Params...), const Launch& shape,
           Params... params) {
  if (shape.blocks == 0) return 0;
  cudaStream_t stream = stream_of(call, op);
  if (!stream) return 1;
  kernel<<<shape.blocks, shape.threads, shape.shared_bytes, stream>>>(params...);
  CUDA_CHECK(call, op, cudaGetLastError());
  if (is_synchronous()) CUDA_CHECK(call, op, cudaStreamSynchronize(stream));
  return 0;
}

class DeviceExec {
 public:
  DeviceExec(const BackendCall* call, const char* op) : call_(call), op_(op) {}
  DeviceExec(const DeviceExec&) = delete;
  DeviceExec& operator=(const DeviceExec&) = delete;

  int fail(const char* what) { return cuda::fail(call_, op_, what); }

  template <class Body>
  int elements(int64_t n, Body body) {
    return launch(call_, op_, elements_kernel<Body>, element_launch(n), n, body);
  }
  template <class Body>
  int rows(int64_t n, Body body, int64_t scratch_bytes = 0) {
    if (!scratch_fits(scratch_bytes)) return fail("the row is too wide for shared memory");
    return launch(call_, op_, rows_kernel<Body>, row_launch(n, scratch_bytes), n,
                  warp_scratch_bytes(scratch_bytes), body);
  }
  // Device memory until the op's kernels are done; null, with the error written, when there is
  // none.
  void* scratch(int64_t bytes) {
    Temporary& block = blocks_.emplace_back();
    return block.allocate(call_, op_, bytes) ? nullptr : block.as<void>();
  }
  // Whether predicate(i) holds for any i in [0, n).  Waits for the stream.
  template <class Predicate>
  int any(int64_t n, Predicate predicate, bool* found) {
    *found = false;
    if (n <= 0) return 0;
    int32_t raised = 0;
    int32_t* flag = static_cast<int32_t*>(scratch(kBytes<int32_t>));
    if (!flag) return 1;
    CUDA_CHECK(call_, op_, cudaMemsetAsync(flag, 0, sizeof(*flag), stream_of(call_, op_)));
    CUDA_TRY(elements(n, RaiseFlag<Predicate>{predicate, flag}));
    CUDA_TRY(copy_to_host(call_, op_, &raised, flag, kBytes<int32_t>));
    *found = raised != 0;
    return 0;
  }
  // Rows to and from host memory without gaps; complete on return.
  int to_host(Rows<int32_t> from, int32_t* to) {
    return copy(to, from.cols, from.data, from.stride, from, cudaMemcpyDeviceToHost);
  }
  int to_device(const int32_t* from, Rows<int32_t> to) {
    return copy(to.data, to.stride, from, to.cols, to, cudaMemcpyHostToDevice);
  }

 private:
  int copy(int32_t* to, int64_t to_stride, const int32_t* from, int64_t from_stride,
           const Rows<int32_t>& shape, cudaMemcpyKind kind) {
    if (shape.numel() == 0) return 0;
    cudaStream_t stream = stream_of(call_, op_);
    if (!stream) return 1;
    // The stride of a single row means nothing; a copy wants it no shorter than the row.
    const auto pitch = [&](int64_t stride) {
      return static_cast<size_t>(shape.rows == 1 ? shape.cols : stride) * sizeof(int32_t);
    };
    CUDA_CHECK(call_, op_,
               cudaMemcpy2DAsync(to, pitch(to_stride), from, pitch(from_stride), pitch(shape.cols),
                                 static_cast<size_t>(shape.rows), kind, stream));
    CUDA_CHECK(call_, op_, cudaStreamSynchronize(stream));
    return 0;
  }

  const BackendCall* call_;
  const char* op_;
  std::deque<Temporary> blocks_;
};

}  // namespace orthant::cuda::kernels
