// SPDX-License-Identifier: Apache-2.0
// Counts the bytes that one rank holds, by what they are for.  Thread-safe.
#pragma once

#include <array>
#include <atomic>
#include <cstdint>
#include <string_view>

namespace orthant {

enum class MemoryCategory : int {
  kParameters,
  kGradients,
  kOptimizer,
  kActivations,
  kCache,
  kWorkspace,
  kCommunication,
};
inline constexpr int kNumMemoryCategories = 7;
std::string_view name_of(MemoryCategory category);

class Ledger {
 public:
  void add(MemoryCategory category, int64_t bytes);  // negative to release
  int64_t bytes(MemoryCategory category) const;
  int64_t total_bytes() const { return total_.load(std::memory_order_relaxed); }
  int64_t peak_bytes() const { return peak_.load(std::memory_order_relaxed); }
  int64_t peak_bytes(MemoryCategory category) const;

 private:
  std::array<std::atomic<int64_t>, kNumMemoryCategories> now_{};
  std::array<std::atomic<int64_t>, kNumMemoryCategories> peaks_{};
  std::atomic<int64_t> total_{0};
  std::atomic<int64_t> peak_{0};
};

}  // namespace orthant
