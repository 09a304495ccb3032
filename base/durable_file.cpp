// SPDX-License-Identifier: Apache-2.0
#include "base/durable_file.h"

#include <fcntl.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include <cerrno>
#include <cstdio>
#include <filesystem>
#include <system_error>

#include "base/error.h"

namespace orthant {
namespace {

std::string free_text(const std::string& path) {
  struct statvfs info {};
  if (statvfs(folder_of(path).c_str(), &info) != 0) return "";
  const double bytes = static_cast<double>(info.f_bavail) * static_cast<double>(info.f_frsize);
  return concat(" (", human_bytes(bytes), " free)");
}

int sync_and_close(int fd) {
  int error = 0;
  do error = fsync(fd) == 0 ? 0 : errno;
  while (error == EINTR);
  if (close(fd) != 0 && errno != EINTR && error == 0) error = errno;
  return error;
}

}  // namespace

int write_all(int fd, std::string_view text) {
  while (!text.empty()) {
    const ssize_t wrote = ::write(fd, text.data(), text.size());
    if (wrote < 0 && errno != EINTR) return errno;
    if (wrote > 0) text.remove_prefix(static_cast<size_t>(wrote));
  }
  return 0;
}

void throw_cannot_write(const std::string& path, std::string_view what, int error) {
  const bool space = error == ENOSPC || error == EDQUOT || error == EFBIG;
  throw_error(ErrorKind::kCannotWrite,
              concat(path, ": cannot ", what, ": ", std::generic_category().message(error),
                     space ? free_text(path) : ""));
}

std::string folder_of(const std::string& path) {
  const std::string folder = std::filesystem::path(path).parent_path();
  return folder.empty() ? "." : folder;
}

void make_folders(const std::string& path, const std::string& output) {
  std::error_code error;
  std::filesystem::create_directories(path, error);
  if (!error && !std::filesystem::is_directory(path))
    error = std::make_error_code(std::errc::not_a_directory);
  if (error && output.empty()) throw_cannot_write(path, "make the directory", error.value());
  if (error) throw_cannot_write(output, concat("make the directory '", path, "'"), error.value());
}

void sync_folder(const std::string& path) {
  const int fd = open(path.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  if (fd < 0 && errno == EACCES) return;  // may be written, not read
  if (fd < 0) throw_cannot_write(path, "open", errno);
  const int error = sync_and_close(fd);
  // Some network file systems cannot sync folders; their renames are durable by themselves.
  if (error != 0 && error != EINVAL && error != ENOTSUP) throw_cannot_write(path, "sync", error);
}

FileReplacement::FileReplacement(std::string path)
    : path_(std::move(path)), temporary_(concat(path_, ".tmp.", getpid())) {
  unlink(temporary_.c_str());
}

FileReplacement::~FileReplacement() {
  if (!committed_) unlink(temporary_.c_str());
}

void FileReplacement::commit() {
  const int fd = open(temporary_.c_str(), O_RDONLY | O_NOFOLLOW | O_CLOEXEC);
  if (fd < 0) throw_cannot_write(path_, "write", errno);
  if (const int error = sync_and_close(fd)) throw_cannot_write(path_, "write", error);
  if (rename(temporary_.c_str(), path_.c_str()) != 0) throw_cannot_write(path_, "write", errno);
  committed_ = true;
  sync_folder(folder_of(path_));
}

void replace_file(const std::string& path, std::string_view text) {
  FileReplacement replacement(path);
  const int fd = open(replacement.temporary().c_str(),
                      O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0666);
  if (fd < 0) throw_cannot_write(path, "write", errno);
  int error = write_all(fd, text);
  if (close(fd) != 0 && errno != EINTR && error == 0) error = errno;
  if (error != 0) throw_cannot_write(path, "write", error);
  replacement.commit();
}

}  // namespace orthant
