// SPDX-License-Identifier: Apache-2.0
// A file as a stream of bytes: plain or, by its name's ending, packed by gzip (.gz) or Zstandard
// (.zst).
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>
#include <string_view>

namespace orthant {

class FileBytes;
class Unpacker;

// The name without an ending that says how the file is packed.
std::string_view unpacked_name(std::string_view path);

// All members of a gzip file and all frames of a .zst are read, one behind the other.
class ByteReader {
 public:
  // Error(kMissingInput) when there is none; Error(kData) when it is not a regular file.
  explicit ByteReader(const std::string& path);
  ~ByteReader();
  // Up to `size` bytes; 0 at the end.  Error(kData) for what is damaged or truncated, and for a
  // .zst that wants more memory than zstd itself gives it unasked.
  size_t read(char* out, size_t size);
  int64_t consumed_bytes() const;  // of the file on disk
  // At the end: bytes behind the last gzip member that begin no other one, and are left out.
  int64_t trailing_bytes() const;

 private:
  std::unique_ptr<FileBytes> file_;
  std::unique_ptr<Unpacker> unpacker_;  // null for a plain file
};

// All bytes of a regular file, as they are whatever its name.  Errors as ByteReader's constructor;
// Error(kData) when it cannot be read.
std::string read_whole_file(const std::string& path);

}  // namespace orthant
