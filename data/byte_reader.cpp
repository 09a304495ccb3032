// SPDX-License-Identifier: Apache-2.0
#include "data/byte_reader.h"

#include <sys/stat.h>

#include <cerrno>
#include <cstring>
#include <fstream>
#include <iterator>

#include "base/error.h"
#include "data/unpacker.h"

namespace orthant {

FileBytes::FileBytes(const std::string& path) : path_(path) {
  struct stat status {};
  const bool found = ::stat(path.c_str(), &status) == 0;
  ORTHANT_CHECK(found || (errno != ENOENT && errno != ENOTDIR), kMissingInput, path,
                ": no such file");
  ORTHANT_CHECK(found && S_ISREG(status.st_mode), kData, path, ": is not a regular file");
  size_ = status.st_size;
  file_ = std::fopen(path.c_str(), "rb");
  ORTHANT_CHECK(file_, kData, path, ": cannot be opened: ", std::strerror(errno));
}

FileBytes::~FileBytes() {
  if (file_) std::fclose(file_);
}

size_t FileBytes::read(char* out, size_t size) {
  const size_t n = std::fread(out, 1, size, file_);
  ORTHANT_CHECK(n > 0 || !std::ferror(file_), kData, path_,
                ": cannot be read: ", std::strerror(errno));
  taken_ += static_cast<int64_t>(n);
  return n;
}

bool PackedInput::fill(size_t want) {
  while (size() < want) {
    std::memmove(buffer_.data(), data(), size());
    end_ -= begin_;
    begin_ = 0;
    const size_t n =
        file_.read(reinterpret_cast<char*>(buffer_.data()) + end_, buffer_.size() - end_);
    if (n == 0) return false;
    end_ += n;
  }
  return true;
}

std::string_view unpacked_name(std::string_view path) {
  for (const std::string_view ending : {".gz", ".zst"})
    if (path.ends_with(ending)) return path.substr(0, path.size() - ending.size());
  return path;
}

ByteReader::ByteReader(const std::string& path) : file_(std::make_unique<FileBytes>(path)) {
  if (path.ends_with(".gz")) unpacker_ = make_gzip_unpacker(*file_);
  if (path.ends_with(".zst")) unpacker_ = make_zstd_unpacker(*file_);
}

ByteReader::~ByteReader() = default;

size_t ByteReader::read(char* out, size_t size) {
  return unpacker_ ? unpacker_->read(out, size) : file_->read(out, size);
}

int64_t ByteReader::consumed_bytes() const {
  return unpacker_ ? unpacker_->consumed_bytes() : file_->taken();
}

int64_t ByteReader::trailing_bytes() const { return unpacker_ ? unpacker_->trailing_bytes() : 0; }

std::string read_whole_file(const std::string& path) {
  { FileBytes check(path); }  // the same errors
  std::ifstream in(path, std::ios::binary);
  std::string content{std::istreambuf_iterator<char>(in), {}};
  ORTHANT_CHECK(in.good() || in.eof(), kData, path, ": cannot be read");
  return content;
}

}  // namespace orthant
