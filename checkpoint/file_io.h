// SPDX-License-Identifier: Apache-2.0
// Files that survive a crash: complete writes, checksums, fsync, and errors in our words (base/
// durable_file.h replaces small files and makes and syncs folders).
//
// All functions are local to the calling rank and safe on any thread.  Failures to write throw
// Error(kCannotWrite) with path, the system's reason, and bytes wanted and free; failures to read
// throw Error(kData), or Error(kMissingInput) where there is no such file.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "base/checksum.h"

namespace orthant {

// A new file (it must not exist), written front to back.  Short writes and EINTR are handled. After
// any failure the file is closed and never synchronised again: the kernel may have dropped the
// data.
class OutputFile {
 public:
  OutputFile(std::string path, int64_t expected_bytes);  // expected: for the text of errors
  ~OutputFile();
  OutputFile(const OutputFile&) = delete;
  OutputFile& operator=(const OutputFile&) = delete;
  void write(const void* data, int64_t bytes);
  void sync();  // fsync
  void close();
  int64_t bytes() const { return bytes_; }
  std::string checksum() const { return checksum_.hex(); }

 private:
  [[noreturn]] void fail(const char* what, int error);

  std::string path_;
  int64_t expected_bytes_;
  int fd_ = -1;
  int64_t bytes_ = 0;
  Checksum checksum_;
};

// A regular file, read with pread.  A symbolic link to one is followed, so that checkpoints may lie
// in a store that links them (a link to a device or a FIFO is refused): what a link brings in is
// believed no more than any other bytes, since checksums decide.  Writing never follows a link.
class InputFile {
 public:
  explicit InputFile(std::string path);
  ~InputFile();
  InputFile(const InputFile&) = delete;
  InputFile& operator=(const InputFile&) = delete;
  const std::string& path() const { return path_; }
  int64_t bytes() const { return bytes_; }  // when it was opened
  void read(int64_t offset, void* to, int64_t bytes) const;
  std::string checksum() const;  // of the whole file

 private:
  std::string path_;
  int fd_ = -1;
  int64_t bytes_ = 0;
};

// The whole file; Error(kData) when it is larger than `max_bytes`.
std::string read_text_file(const std::string& path, int64_t max_bytes);
void write_text_file(const std::string& path, std::string_view text);  // new file, synchronised

// Moves a directory; where `to` exists the two change places in one step, if the file system can,
// else `to` is first moved to `aside`.
void move_directory(const std::string& from, const std::string& to, const std::string& aside);
void remove_tree(const std::string& path);  // no such path is fine
bool path_exists(const std::string& path);
std::vector<std::string> list_directory(const std::string& path);  // sorted; empty when absent
int64_t free_bytes(const std::string& path);                       // -1 when unknown

}  // namespace orthant
