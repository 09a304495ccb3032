// SPDX-License-Identifier: Apache-2.0
#include "trainer/run/run_dir.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include <cerrno>
#include <cstdio>
#include <cstring>
#include <filesystem>

#include "base/durable_file.h"
#include "base/error.h"

namespace orthant {
namespace {

std::string parent_of(const std::string& path) {
  const std::string parent = std::filesystem::path(path).parent_path();
  return parent.empty() ? "." : parent;
}

std::string free_text(const std::string& dir) {
  struct statvfs info {};
  if (statvfs(dir.c_str(), &info) != 0) return "";
  const double bytes = static_cast<double>(info.f_bavail) * static_cast<double>(info.f_frsize);
  return concat(" (", human_bytes(bytes), " free)");
}

[[noreturn]] void cannot_write(const std::string& path, const char* what, int error) {
  const bool space = error == ENOSPC || error == EDQUOT || error == EFBIG;
  throw_error(ErrorKind::kCannotWrite,
              concat(path, ": cannot ", what, ": ", std::strerror(error),
                     space ? free_text(parent_of(path)) : "",
                     space ? "; free some space, or choose another run.dir"
                           : "; choose another run.dir, or change its permissions"));
}

// 0, or the error number.
int write_all(int fd, std::string_view text) {
  while (!text.empty()) {
    const ssize_t wrote = ::write(fd, text.data(), text.size());
    if (wrote < 0 && errno == EINTR) continue;
    if (wrote < 0) return errno;
    text.remove_prefix(static_cast<size_t>(wrote));
  }
  return 0;
}

// Makes a new file beside `path` with this content, synced; returns its name.
std::string write_temporary(const std::string& path, std::string_view text) {
  const std::string temporary = concat(path, ".tmp.", getpid());
  unlink(temporary.c_str());  // of an earlier process that had our number
  const int fd = open(temporary.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0666);
  if (fd < 0) cannot_write(path, "write", errno);
  int error = write_all(fd, text);
  if (error == 0 && fsync(fd) != 0) error = errno;
  if (close(fd) != 0 && error == 0) error = errno;
  if (error != 0) {
    unlink(temporary.c_str());
    cannot_write(path, "write", error);
  }
  return temporary;
}

}  // namespace

std::string RunPaths::log_file(int rank) const {
  std::string number = std::to_string(rank);
  if (number.size() < 5) number.insert(0, 5 - number.size(), '0');
  return concat(dir, "/logs/rank-", number, ".log");
}

void create_run_dir(const RunPaths& paths) {
  for (const std::string& dir : {paths.dir, paths.checkpoints(), paths.dir + "/logs"}) {
    std::error_code error;
    std::filesystem::create_directories(dir, error);
    if (error) cannot_write(dir, "make the directory", error.value());
    if (!std::filesystem::is_directory(dir, error)) {
      cannot_write(dir, "make the directory", ENOTDIR);
    }
  }
  check_writable(paths.dir);
  check_writable(paths.checkpoints());
}

void check_writable(const std::string& dir) {
  const std::string block(4096, ' ');  // a full disk shows with content only
  const std::string temporary = write_temporary(dir + "/.write-test", block);
  if (unlink(temporary.c_str()) != 0) cannot_write(temporary, "remove", errno);
}

void write_file_atomically(const std::string& path, std::string_view text) {
  replace_file(path, text);
}

}  // namespace orthant
