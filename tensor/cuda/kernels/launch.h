// SPDX-License-Identifier: Apache-2.0
// Launch arithmetic: how many blocks and threads work on n items.  Plain C++, tested on the host.
//
// Kernels walk their items with a grid stride and 64-bit indices, so any n fits a bounded grid.
#pragma once

#include <cstdint>

namespace orthant::cuda::kernels {

inline constexpr int64_t kWarp = 32;              // threads of a team
inline constexpr int64_t kBlockThreads = 256;     // threads of a block, at most
inline constexpr int64_t kMaxBlocks = 1 << 16;    // beyond this threads take several items
inline constexpr int64_t kMaxShared = 48 * 1024;  // bytes a block has without asking for more

struct Launch {
  uint32_t blocks, threads, shared_bytes;  // blocks is 0 when nothing is to be done or nothing fits
};

constexpr int64_t blocks_of(int64_t items, int64_t items_per_block) {
  return items / items_per_block + (items % items_per_block != 0);
}

// One thread per element.
constexpr Launch element_launch(int64_t n) {
  if (n <= 0) return {0, 0, 0};
  const int64_t wanted = blocks_of(n, kBlockThreads);
  return {static_cast<uint32_t>(wanted < kMaxBlocks ? wanted : kMaxBlocks),
          static_cast<uint32_t>(kBlockThreads), 0};
}

// Shared memory of one warp, rounded so that every warp's part is aligned for any element type.
constexpr int64_t warp_scratch_bytes(int64_t bytes) { return (bytes + 15) / 16 * 16; }
constexpr bool scratch_fits(int64_t bytes) { return warp_scratch_bytes(bytes) <= kMaxShared; }

// One warp per row, with `scratch_bytes` of shared memory each; fewer warps share a block when they
// want much of it.
constexpr Launch row_launch(int64_t rows, int64_t scratch_bytes) {
  if (rows <= 0 || !scratch_fits(scratch_bytes)) return {0, 0, 0};
  const int64_t bytes = warp_scratch_bytes(scratch_bytes);
  int64_t warps = kBlockThreads / kWarp;
  while (warps * bytes > kMaxShared) --warps;
  const int64_t wanted = blocks_of(rows, warps);
  return {static_cast<uint32_t>(wanted < kMaxBlocks ? wanted : kMaxBlocks),
          static_cast<uint32_t>(warps * kWarp), static_cast<uint32_t>(warps * bytes)};
}

}  // namespace orthant::cuda::kernels
