// SPDX-License-Identifier: Apache-2.0
// A device's streams and handles: made once per process and device, shared by all its threads.
#pragma once

#include <cublasLt.h>

#include <array>
#include <mutex>

#include "tensor/cuda/common.h"

namespace orthant::cuda {

inline constexpr int kMaxDevices = 64;
inline constexpr int kNumBranches =
    4;  // side streams for products that do not depend on each other

struct DeviceState {
  std::mutex mutex;  // guards making of what follows
  bool ready = false;
  cudaStream_t compute = nullptr;
  cublasLtHandle_t cublas = nullptr;

  std::mutex branch_mutex;  // held from fork to join
  std::array<cudaStream_t, kNumBranches> branches = {};
  std::array<cudaEvent_t, kNumBranches> branch_done = {};
  cudaEvent_t forked = nullptr;
};

// Of the calling thread's device; null and an error in call when it cannot be made.
DeviceState* device_state(const BackendCall* call, const char* op);
int current_device();  // as chosen by use_device; 0 before

int device_count(const BackendCall* call, int32_t* count);
int describe_device(const BackendCall* call, int32_t index, BackendDevice* device);
int use_device(const BackendCall* call, int32_t index);
const char* library_versions();

void fill_memory(Backend& table);
const BackendComm& communication();
void fill_matmul(Backend& table);

}  // namespace orthant::cuda
