// SPDX-License-Identifier: Apache-2.0
// What all files of the CUDA plugin share: errors, the log, the stream, temporaries.  Element types
// are in kernels/element.h.
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
#include <string>

#include "tensor/backend.h"

namespace orthant::cuda {

// --- Errors: each writes "op: what" into call->error and returns 1 (see report.h). ---------------

int fail(const BackendCall* call, const char* op, const char* what);
int fail_cuda(const BackendCall* call, const char* op, const char* expression, cudaError_t error);

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

// A line in the program's log, once its host is known (orthant_backend_v1).
void log_line(const std::string& line);
void set_host(const BackendHost* host);

// ORTHANT_CUDA_SYNC=1 in the environment: wait after every kernel, so that a fault names its op.
bool is_synchronous();

// --- Stream and memory. -------------------------------------------------------------------------

// call->stream, or the compute stream of the calling thread's device.  Null and an error in call on
// failure.
cudaStream_t stream_of(const BackendCall* call, const char* op);
// In the order of stream_of(call), small pieces through pinned memory; complete on return.
int copy_to_host(const BackendCall* call, const char* op, void* to, const void* from,
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

}  // namespace orthant::cuda
