// SPDX-License-Identifier: Apache-2.0
// Device memory and copies.  Blocks come from cudaMalloc; the caching above the table
// (tensor/allocator.cpp) makes them rare.
#include <algorithm>
#include <cstring>
#include <map>
#include <vector>

#include "tensor/cuda/device.h"

namespace orthant::cuda {
namespace {

// Pinned memory of one thread and device, for small transfers: in slots, so that a copy to the
// device need not wait for the stream; a slot is used again when its last copy is done.
class Staging {
 public:
  static constexpr int64_t kSlotBytes = 64 << 10;
  static constexpr size_t kSlots = 16;

  Staging() = default;
  ~Staging() {  // failures at the end of a process do not matter
    for (cudaEvent_t event : events_) cudaEventDestroy(event);
    if (base_) cudaFreeHost(base_);
  }
  Staging(const Staging&) = delete;
  Staging& operator=(const Staging&) = delete;

  // Memory of the next slot, and the event to be recorded behind the copy that reads it.
  int next(const BackendCall* call, const char* op, void** slot, cudaEvent_t* event) {
    if (!base_) {
      void* base = nullptr;
      CUDA_CHECK(
          call, op,
          cudaHostAlloc(&base, kSlots * static_cast<size_t>(kSlotBytes), cudaHostAllocDefault));
      base_ = static_cast<char*>(base);
    }
    if (events_.size() < kSlots) {
      cudaEvent_t made = nullptr;
      CUDA_CHECK(call, op, cudaEventCreateWithFlags(&made, cudaEventDisableTiming));
      events_.push_back(made);
      at_ = events_.size() - 1;
    } else {
      at_ = (at_ + 1) % kSlots;
      CUDA_CHECK(call, op, cudaEventSynchronize(events_[at_]));
    }
    *slot = base_ + at_ * static_cast<size_t>(kSlotBytes);
    *event = events_[at_];
    return 0;
  }

 private:
  char* base_ = nullptr;
  std::vector<cudaEvent_t> events_;
  size_t at_ = 0;
};

Staging& staging() {
  thread_local std::map<int, Staging> of_device;
  return of_device[current_device()];
}

int is_on_device(const BackendCall* call, const void* pointer, bool* on_device) {
  cudaPointerAttributes attributes = {};
  CUDA_CHECK(call, "copy", cudaPointerGetAttributes(&attributes, pointer));
  *on_device = attributes.type == cudaMemoryTypeDevice || attributes.type == cudaMemoryTypeManaged;
  return 0;
}

int allocate(const BackendCall* call, int64_t bytes, void** block) {
  *block = nullptr;
  CUDA_CHECK(call, "allocate", cudaMalloc(block, static_cast<size_t>(std::max<int64_t>(bytes, 1))));
  return 0;
}

int deallocate(const BackendCall* call, void* block) {
  CUDA_CHECK(call, "deallocate", cudaFree(block));  // waits for the device
  return 0;
}

int allocate_host(const BackendCall* call, int64_t bytes, void** block) {
  *block = nullptr;
  CUDA_CHECK(call, "allocate_host",
             cudaHostAlloc(block, static_cast<size_t>(std::max<int64_t>(bytes, 1)),
                           cudaHostAllocPortable));
  return 0;
}

int deallocate_host(const BackendCall* call, void* block) {
  CUDA_CHECK(call, "deallocate_host", cudaFreeHost(block));
  return 0;
}

// A host copy in the order of the stream; small ones go through a slot.  On return the host memory
// has been written, or may be written again.
int transfer(const BackendCall* call, const char* op, void* to, const void* from, int64_t bytes,
             cudaMemcpyKind kind) {
  if (bytes <= 0) return 0;
  cudaStream_t stream = stream_of(call, op);
  if (!stream) return 1;
  const auto size = static_cast<size_t>(bytes);
  if (bytes > Staging::kSlotBytes) {
    CUDA_CHECK(call, op, cudaMemcpyAsync(to, from, size, kind, stream));
    CUDA_CHECK(call, op, cudaStreamSynchronize(stream));
    return 0;
  }
  void* slot = nullptr;
  cudaEvent_t event = nullptr;
  CUDA_TRY(staging().next(call, op, &slot, &event));
  if (kind == cudaMemcpyHostToDevice) {
    std::memcpy(slot, from, size);
    CUDA_CHECK(call, op, cudaMemcpyAsync(to, slot, size, kind, stream));
    CUDA_CHECK(call, op, cudaEventRecord(event, stream));
  } else {
    CUDA_CHECK(call, op, cudaMemcpyAsync(slot, from, size, kind, stream));
    CUDA_CHECK(call, op, cudaStreamSynchronize(stream));
    std::memcpy(to, slot, size);
  }
  return 0;
}

int copy(const BackendCall* call, void* to, const void* from, int64_t bytes) {
  if (bytes <= 0) return 0;
  bool to_device = false, from_device = false;
  CUDA_TRY(is_on_device(call, to, &to_device));
  CUDA_TRY(is_on_device(call, from, &from_device));
  if (to_device && !from_device)
    return transfer(call, "copy", to, from, bytes, cudaMemcpyHostToDevice);
  if (!to_device && from_device)
    return transfer(call, "copy", to, from, bytes, cudaMemcpyDeviceToHost);
  if (!to_device) {
    std::memcpy(to, from, static_cast<size_t>(bytes));
    return 0;
  }
  cudaStream_t stream = stream_of(call, "copy");
  if (!stream) return 1;
  CUDA_CHECK(call, "copy",
             cudaMemcpyAsync(to, from, static_cast<size_t>(bytes), cudaMemcpyDefault, stream));
  return 0;
}

int synchronize(const BackendCall* call) {
  cudaStream_t stream = stream_of(call, "synchronize");
  if (!stream) return 1;
  CUDA_CHECK(call, "synchronize", cudaStreamSynchronize(stream));
  return 0;
}

}  // namespace

int copy_to_host(const BackendCall* call, const char* op, void* to, const void* from,
                 int64_t bytes) {
  return transfer(call, op, to, from, bytes, cudaMemcpyDeviceToHost);
}

void fill_memory(Backend& table) {
  table.allocate = allocate;
  table.deallocate = deallocate;
  table.allocate_host = allocate_host;
  table.deallocate_host = deallocate_host;
  table.copy = copy;
  table.synchronize = synchronize;
}

}  // namespace orthant::cuda
