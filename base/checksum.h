// SPDX-License-Identifier: Apache-2.0
// XXH3 checksums of memory and files.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>

namespace orthant {

uint64_t xxh3_64(const void* data, size_t size, uint64_t seed = 0);
// 32 hexadecimal digits.
std::string xxh3_128_hex(const void* data, size_t size);

// The same 128-bit checksum, fed piece by piece.
class Checksum {
 public:
  Checksum();
  ~Checksum();
  Checksum(const Checksum&) = delete;
  Checksum& operator=(const Checksum&) = delete;
  void update(const void* data, size_t size);
  std::string hex() const;

 private:
  void* state_;
};

}  // namespace orthant
