// SPDX-License-Identifier: Apache-2.0
// How functions of the table fail.
#include <cstdio>
#include <cstring>

#include "tensor/cuda/common.h"

namespace orthant::cuda {

int fail(const BackendCall* call, const char* op, const char* what) {
  if (call && call->error && call->error_size > 0)
    std::snprintf(call->error, static_cast<size_t>(call->error_size), "%s: %s", op, what);
  return 1;
}

int fail_cuda(const BackendCall* call, const char* op, const char* expression, cudaError_t error) {
  // "cudaMalloc" of "cudaMalloc(&p, n)".
  const int name = static_cast<int>(std::strcspn(expression, "("));
  if (call && call->error && call->error_size > 0) {
    std::snprintf(call->error, static_cast<size_t>(call->error_size), "%s: %.*s: %s (%s)", op, name,
                  expression, cudaGetErrorString(error), cudaGetErrorName(error));
  }
  cudaGetLastError();  // a refused call must not be found again by the next check
  return 1;
}

}  // namespace orthant::cuda
