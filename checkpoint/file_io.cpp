// SPDX-License-Identifier: Apache-2.0
#include "checkpoint/file_io.h"

#include <dirent.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdio>
#include <cstring>
#include <filesystem>
#include <system_error>

#include "base/durable_file.h"
#include "base/error.h"

namespace orthant {
namespace {

constexpr int64_t kPieceBytes = int64_t{8} << 20;

std::string reason_of(int error) {
  return concat(std::generic_category().message(error), " (errno ", error, ")");
}

[[noreturn]] void cannot_read(const std::string& path, const char* what, int error) {
  throw Error(
      error == ENOENT ? ErrorKind::kMissingInput : ErrorKind::kData,
      concat(path, ": cannot ", what, ": ", reason_of(error),
             error == ENOENT && path_exists(path) ? "; it is a symbolic link to nothing" : ""));
}

}  // namespace

OutputFile::OutputFile(std::string path, int64_t expected_bytes)
    : path_(std::move(path)), expected_bytes_(expected_bytes) {
  fd_ = open(path_.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0666);
  if (fd_ < 0) fail("create", errno);
}

OutputFile::~OutputFile() {
  if (fd_ >= 0) ::close(fd_);
}

void OutputFile::fail(const char* what, int error) {
  if (fd_ >= 0) ::close(fd_);
  fd_ = -1;
  const int64_t free = free_bytes(folder_of(path_));
  throw Error(ErrorKind::kCannotWrite,
              concat("cannot ", what, " ", path_, ": ", reason_of(error), " after ",
                     human_bytes(static_cast<double>(bytes_)), " of ",
                     human_bytes(static_cast<double>(expected_bytes_)), ", ",
                     free < 0 ? "free space unknown" : human_bytes(static_cast<double>(free)),
                     free < 0 ? "" : " free"));
}

void OutputFile::write(const void* data, int64_t bytes) {
  const char* at = static_cast<const char*>(data);
  ORTHANT_CHECK(fd_ >= 0, kInternal, path_, ": written after it was closed");
  while (bytes > 0) {
    const ssize_t done = ::write(fd_, at, static_cast<size_t>(std::min(bytes, kPieceBytes)));
    if (done < 0) {
      if (errno == EINTR || errno == EAGAIN) continue;
      fail("write", errno);
    }
    checksum_.update(at, static_cast<size_t>(done));
    at += done;
    bytes -= done;
    bytes_ += done;
  }
}

void OutputFile::sync() {
  if (fsync(fd_) != 0) fail("synchronise", errno);
}

void OutputFile::close() {
  const int fd = fd_;
  fd_ = -1;
  if (fd >= 0 && ::close(fd) != 0 && errno != EINTR) fail("close", errno);
}

InputFile::InputFile(std::string path) : path_(std::move(path)) {
  fd_ = open(path_.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK);
  if (fd_ < 0) cannot_read(path_, "open", errno);
  struct stat status {};
  const bool regular = fstat(fd_, &status) == 0 && S_ISREG(status.st_mode);
  if (!regular) {
    ::close(fd_);
    throw Error(ErrorKind::kData, concat(path_, ": want a regular file"));
  }
  bytes_ = status.st_size;
}

InputFile::~InputFile() { ::close(fd_); }

void InputFile::read(int64_t offset, void* to, int64_t bytes) const {
  char* at = static_cast<char*>(to);
  while (bytes > 0) {
    const ssize_t done = pread(fd_, at, static_cast<size_t>(std::min(bytes, kPieceBytes)), offset);
    if (done < 0) {
      if (errno == EINTR || errno == EAGAIN) continue;
      cannot_read(path_, "read", errno);
    }
    ORTHANT_CHECK(done > 0, kData, path_, ": ended at byte ", offset, ", want ", bytes, " more");
    at += done;
    offset += done;
    bytes -= done;
  }
}

std::string InputFile::checksum() const {
  Checksum checksum;
  std::vector<char> piece(static_cast<size_t>(std::min(bytes_, kPieceBytes)));
  for (int64_t at = 0; at < bytes_; at += kPieceBytes) {
    const int64_t count = std::min(kPieceBytes, bytes_ - at);
    read(at, piece.data(), count);
    checksum.update(piece.data(), static_cast<size_t>(count));
  }
  return checksum.hex();
}

std::string read_text_file(const std::string& path, int64_t max_bytes) {
  const InputFile file(path);
  ORTHANT_CHECK(file.bytes() <= max_bytes, kData, path, ": want at most ", max_bytes,
                " bytes, got ", file.bytes());
  std::string text(static_cast<size_t>(file.bytes()), '\0');
  file.read(0, text.data(), file.bytes());
  return text;
}

void write_text_file(const std::string& path, std::string_view text) {
  OutputFile file(path, static_cast<int64_t>(text.size()));
  file.write(text.data(), static_cast<int64_t>(text.size()));
  file.sync();
  file.close();
}

void move_directory(const std::string& from, const std::string& to, const std::string& aside) {
  if (path_exists(to)) {
    if (renameat2(AT_FDCWD, from.c_str(), AT_FDCWD, to.c_str(), RENAME_EXCHANGE) == 0) {
      if (rename(from.c_str(), aside.c_str()) != 0) throw_cannot_write(from, "rename", errno);
      return;
    }
    if (rename(to.c_str(), aside.c_str()) != 0) throw_cannot_write(to, "rename", errno);
    if (rename(from.c_str(), to.c_str()) == 0) return;
    const int error = errno;
    if (!path_exists(to)) static_cast<void>(rename(aside.c_str(), to.c_str()));
    throw_cannot_write(to, "rename to", error);
  }
  if (rename(from.c_str(), to.c_str()) != 0) throw_cannot_write(to, "rename to", errno);
}

void remove_tree(const std::string& path) {
  std::error_code error;
  std::filesystem::remove_all(path, error);
  if (error) throw_cannot_write(path, "remove", error.value());
}

bool path_exists(const std::string& path) {
  struct stat status {};
  return lstat(path.c_str(), &status) == 0;
}

std::vector<std::string> list_directory(const std::string& path) {
  std::vector<std::string> names;
  std::error_code error;
  for (std::filesystem::directory_iterator at(path, error), end; !error && at != end;
       at.increment(error)) {
    names.push_back(at->path().filename().string());
  }
  if (error && error.value() != ENOENT) cannot_read(path, "list directory", error.value());
  std::sort(names.begin(), names.end());
  return names;
}

int64_t free_bytes(const std::string& path) {
  struct statvfs status {};
  if (statvfs(path.c_str(), &status) != 0) return -1;
  return static_cast<int64_t>(status.f_bavail) * static_cast<int64_t>(status.f_frsize);
}

}  // namespace orthant
