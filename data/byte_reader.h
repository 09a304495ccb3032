// SPDX-License-Identifier: Apache-2.0
// A plain or, by its name's ending, gzip-compressed file as a stream of bytes.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>

namespace orthant {

// All members of a gzip file are read, one behind the other.
class ByteReader {
 public:
  // Error(kMissingInput) when there is none; Error(kData) when it is not a regular file.
  explicit ByteReader(const std::string& path);
  ~ByteReader();
  // Up to `size` bytes; 0 at the end.  Error(kData) for damaged or truncated gzip.
  size_t read(char* out, size_t size);
  int64_t consumed_bytes() const;  // of the file on disk
  // At the end: bytes behind the last gzip member that begin no other one, and are left out.
  int64_t trailing_bytes() const;

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

// All bytes of a regular file, as they are whatever its name.  Errors as ByteReader's constructor;
// Error(kData) when it cannot be read.
std::string read_whole_file(const std::string& path);

}  // namespace orthant
