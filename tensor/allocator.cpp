// SPDX-License-Identifier: Apache-2.0
#include "tensor/allocator.h"

#include <array>
#include <bit>
#include <map>
#include <mutex>
#include <tuple>
#include <unordered_map>
#include <vector>

#include "base/context.h"
#include "base/error.h"
#include "tensor/backend.h"

namespace orthant {
namespace {

// Sizes are rounded up to one of eight steps between powers of two: at most 12.5% is wasted.
int64_t size_class(int64_t bytes) {
  if (bytes <= 512) return (bytes + 63) / 64 * 64;
  const int64_t step = static_cast<int64_t>(std::bit_floor(static_cast<uint64_t>(bytes))) / 8;
  return (bytes + step - 1) / step * step;
}

struct Cache {
  std::mutex mutex;
  std::map<int64_t, std::vector<void*>> free_blocks;  // by size class
  std::unordered_map<void*, int64_t> lent;            // class of those given to a smaller one
  int64_t cached_bytes = 0;

  // A free block of this class, or of one up to half above it: the numbers of rows that experts get
  // change from step to step.  Null when there is none.
  void* take(int64_t size) {
    for (auto it = free_blocks.lower_bound(size);
         it != free_blocks.end() && it->first <= size + size / 2; ++it) {
      if (it->second.empty()) continue;
      void* block = it->second.back();
      it->second.pop_back();
      cached_bytes -= it->first;
      if (it->first != size) lent[block] = it->first;
      return block;
    }
    return nullptr;
  }

  void give(void* block, int64_t size) {
    if (const auto node = lent.extract(block)) size = node.mapped();
    free_blocks[size].push_back(block);
    cached_bytes += size;
  }
};

// Caches are never destroyed: tensors may outlive main.
Cache& cache_of(Device device, MemoryKind kind) {
  static auto* cpu = new Cache;
  if (device.is_cpu()) return *cpu;  // one kind of memory
  using Key = std::tuple<DeviceType, int32_t, MemoryKind>;
  static auto* caches = new std::map<Key, Cache>;
  static auto* mutex = new std::mutex;
  const std::lock_guard lock(*mutex);
  return (*caches)[{device.type, device.index, kind}];
}

void* backend_allocate(Device device, int64_t bytes, MemoryKind kind, std::string& error) {
  std::array<char, 512> text{};
  const BackendCall call{.stream = nullptr, .error = text.data(), .error_size = text.size()};
  const Backend& backend = backend_on(device);
  void* block = nullptr;
  const auto entry = kind == MemoryKind::kDevice ? backend.allocate : backend.allocate_host;
  if (entry(&call, bytes, &block) == 0) return block;
  error = text.data();
  return nullptr;
}

std::string name_of(Device device, MemoryKind kind) {
  return concat(kind == MemoryKind::kDevice ? "" : "the host for ", orthant::name_of(device));
}

std::string ledger_text() {
  std::string text;
  const Ledger& ledger = *context().ledger;
  for (int i = 0; i < kNumMemoryCategories; ++i) {
    const auto category = static_cast<MemoryCategory>(i);
    text += concat(i ? ", " : "", name_of(category), " ",
                   human_bytes(static_cast<double>(ledger.bytes(category))));
  }
  return text;
}

}  // namespace

void* allocate(Device device, int64_t bytes, MemoryKind kind) {
  const int64_t size = size_class(bytes);
  if (size == 0) return nullptr;
  Cache& cache = cache_of(device, kind);
  {
    const std::lock_guard lock(cache.mutex);
    if (void* block = cache.take(size)) return block;
  }
  std::string error;
  void* block = backend_allocate(device, size, kind, error);
  if (!block) {
    trim_cache(device, kind);
    block = backend_allocate(device, size, kind, error);
  }
  ORTHANT_CHECK(block != nullptr, kMemory, "out of memory on ", name_of(device, kind), ": ",
                human_bytes(static_cast<double>(size)), " wanted while this rank holds ",
                ledger_text(), " (", error,
                "); use a smaller batch.micro_batch_size, parallel.recompute, or more ranks");
  return block;
}

void deallocate(Device device, void* block, int64_t bytes, MemoryKind kind) {
  if (!block) return;
  const int64_t size = size_class(bytes);
  Cache& cache = cache_of(device, kind);
  const std::lock_guard lock(cache.mutex);
  cache.give(block, size);
}

void trim_cache(Device device, MemoryKind kind) {
  Cache& cache = cache_of(device, kind);
  const std::lock_guard lock(cache.mutex);
  const Backend& backend = backend_on(device);
  const auto entry = kind == MemoryKind::kDevice ? backend.deallocate : backend.deallocate_host;
  for (auto& [size, blocks] : cache.free_blocks) {
    for (void* block : blocks) entry(nullptr, block);
    cache.cached_bytes -= size * static_cast<int64_t>(blocks.size());
    blocks.clear();
  }
}

int64_t cached_bytes(Device device, MemoryKind kind) {
  Cache& cache = cache_of(device, kind);
  const std::lock_guard lock(cache.mutex);
  return cache.cached_bytes;
}

}  // namespace orthant
