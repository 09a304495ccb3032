// SPDX-License-Identifier: Apache-2.0
// Aligned memory for packed matrices, and a buffer per thread that is reused between products.
#pragma once

#include <sys/mman.h>

#include <cstdint>
#include <cstdlib>
#include <new>

namespace orthant::cpu {

inline constexpr int64_t kHugePage = int64_t{2} << 20;
inline constexpr int64_t kCacheLine = 64;

inline int64_t round_up(int64_t value, int64_t multiple) {
  return (value + multiple - 1) / multiple * multiple;
}

// Cache-line aligned; on huge pages where that does not waste most of one, because panels are
// streamed and every page costs a walk.
class AlignedBytes {
 public:
  explicit AlignedBytes(int64_t bytes) : size_(bytes) {
    const bool huge = bytes >= kHugePage;
    const int64_t alignment = huge ? kHugePage : kCacheLine;
    const int64_t rounded = round_up(bytes > 0 ? bytes : 1, alignment);
    data_ = static_cast<char*>(
        std::aligned_alloc(static_cast<size_t>(alignment), static_cast<size_t>(rounded)));
    if (data_ == nullptr) throw std::bad_alloc();
    if (huge) madvise(data_, static_cast<size_t>(rounded), MADV_HUGEPAGE);
  }
  ~AlignedBytes() { std::free(data_); }
  AlignedBytes(const AlignedBytes&) = delete;
  AlignedBytes& operator=(const AlignedBytes&) = delete;
  char* data() const { return data_; }
  int64_t size() const { return size_; }

 private:
  char* data_ = nullptr;
  int64_t size_ = 0;
};

}  // namespace orthant::cpu
