// SPDX-License-Identifier: Apache-2.0
// Counts the bytes that one rank holds, by what they are for.  Thread-safe.
#pragma once

#include <array>
#include <cstdint>
#include <mutex>
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

// Bytes by category.
struct MemoryBytes {
  std::array<int64_t, kNumMemoryCategories> by_category{};

  int64_t operator[](MemoryCategory category) const {
    return by_category[static_cast<size_t>(category)];
  }
  int64_t& operator[](MemoryCategory category) {
    return by_category[static_cast<size_t>(category)];
  }
  int64_t total() const;
};

// Since the last reset_peaks().
struct MemoryPeaks {
  MemoryBytes each;         // the most of each category, not all at one time
  MemoryBytes at_peak;      // when their sum was largest
  int64_t step_bytes = 0;   // the most of activations, workspace and communication together
  int64_t block_bytes = 0;  // the largest block of these three

  int64_t total() const { return at_peak.total(); }
  // Makes this the peaks of both times.
  void merge(const MemoryPeaks& other);
};

class Ledger {
 public:
  void add(MemoryCategory category, int64_t bytes);  // negative to release
  int64_t bytes(MemoryCategory category) const;
  int64_t total_bytes() const;
  int64_t peak_bytes() const { return peaks().total(); }
  int64_t peak_bytes(MemoryCategory category) const { return peaks().each[category]; }
  MemoryPeaks peaks() const;
  void reset_peaks();  // to what is held now

 private:
  mutable std::mutex mutex_;
  MemoryBytes now_;
  MemoryPeaks peaks_;
};

}  // namespace orthant
