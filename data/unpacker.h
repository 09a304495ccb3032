// SPDX-License-Identifier: Apache-2.0
// What stands between a packed file and ByteReader.
#pragma once

#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <memory>
#include <string>
#include <vector>

namespace orthant {

// A regular file, from its beginning to its end.
class FileBytes {
 public:
  // Errors as ByteReader's constructor.
  explicit FileBytes(const std::string& path);
  ~FileBytes();
  FileBytes(const FileBytes&) = delete;
  FileBytes& operator=(const FileBytes&) = delete;

  // Up to `size` bytes; 0 at the end.
  size_t read(char* out, size_t size);
  const std::string& path() const { return path_; }
  int64_t size() const { return size_; }
  int64_t taken() const { return taken_; }

 private:
  std::string path_;
  std::FILE* file_ = nullptr;
  int64_t size_ = 0, taken_ = 0;
};

// Packed bytes that were read and not yet unpacked.
class PackedInput {
 public:
  explicit PackedInput(FileBytes& file) : file_(file), buffer_(size_t{1} << 17) {}
  // Until `want` bytes wait; false when the file ends before.
  bool fill(size_t want);
  const unsigned char* data() const { return buffer_.data() + begin_; }
  size_t size() const { return end_ - begin_; }
  void take(size_t bytes) { begin_ += bytes; }
  int64_t position() const { return file_.taken() - static_cast<int64_t>(size()); }
  const FileBytes& file() const { return file_; }

 private:
  FileBytes& file_;
  std::vector<unsigned char> buffer_;
  size_t begin_ = 0, end_ = 0;
};

class Unpacker {
 public:
  explicit Unpacker(FileBytes& file) : input_(file) {}
  virtual ~Unpacker() = default;
  // As ByteReader.
  virtual size_t read(char* out, size_t size) = 0;
  virtual int64_t trailing_bytes() const { return 0; }
  int64_t consumed_bytes() const { return input_.position(); }

 protected:
  PackedInput input_;
};

// The file must outlive them.
std::unique_ptr<Unpacker> make_gzip_unpacker(FileBytes& file);
std::unique_ptr<Unpacker> make_zstd_unpacker(FileBytes& file);

}  // namespace orthant
