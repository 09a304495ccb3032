// SPDX-License-Identifier: Apache-2.0
// Caching allocator: freed blocks are kept for the next request of their size class, because page
// faults (and cudaMalloc) cost more than the kernels they serve.  Thread-safe; a block may be freed
// on another thread.
#pragma once

#include <cstdint>

#include "tensor/tensor.h"

namespace orthant {

// At least 64-byte aligned.  Error(kMemory) with the ledger's content when the device has no more.
void* allocate(Device device, int64_t bytes);
void deallocate(Device device, void* block, int64_t bytes);
// Gives every cached free block back to the system.
void trim_cache(Device device);
int64_t cached_bytes(Device device);

}  // namespace orthant
