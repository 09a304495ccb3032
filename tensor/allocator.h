// SPDX-License-Identifier: Apache-2.0
// Caching allocator: freed blocks are kept for the next request of about their size, because page
// faults (and cudaMalloc) cost more than the kernels they serve.  Each device has a cache of its
// own for each kind of memory.  Thread-safe; a block may be freed on another thread.
#pragma once

#include <cstdint>

#include "tensor/tensor.h"

namespace orthant {

enum class MemoryKind {
  kDevice,   // the device's own
  kStaging,  // of the host, for copies from and to the device
};

// At least 64-byte aligned.  Error(kMemory) with the ledger's content when the device has no more.
void* allocate(Device device, int64_t bytes, MemoryKind kind = MemoryKind::kDevice);
void deallocate(Device device, void* block, int64_t bytes, MemoryKind kind = MemoryKind::kDevice);
// Gives every cached free block back to the system.
void trim_cache(Device device, MemoryKind kind = MemoryKind::kDevice);
int64_t cached_bytes(Device device, MemoryKind kind = MemoryKind::kDevice);

}  // namespace orthant
