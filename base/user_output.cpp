// SPDX-License-Identifier: Apache-2.0
#include "base/user_output.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <filesystem>

#include "base/error.h"

namespace orthant {
namespace {

namespace fs = std::filesystem;

constexpr const char* kStandardOutput = "-";

bool is_of_the_system(const fs::path& folder) {
  const std::string name = fs::weakly_canonical(folder).string() + "/";
  return name.starts_with("/proc/") || name.starts_with("/dev/");
}

bool is_same_file(const std::string& a, const std::string& b) {
  struct stat of_a {
  }, of_b{};
  return stat(a.c_str(), &of_a) == 0 && stat(b.c_str(), &of_b) == 0 && S_ISREG(of_a.st_mode) &&
         of_a.st_dev == of_b.st_dev && of_a.st_ino == of_b.st_ino;
}

}  // namespace

OutputPlace output_place(const std::string& path) {
  if (path == kStandardOutput) return {path, false};
  fs::path at = path;
  constexpr int kMostLinks = 40;
  for (int links = 0; links <= kMostLinks; ++links) {
    // What is linked there may be open for somebody, who would not see a new file of that name.
    if (is_of_the_system(folder_of(at.string()))) return {path, false};
    if (!fs::is_symlink(at)) break;
    at = at.parent_path() / fs::read_symlink(at);
  }
  struct stat info {};
  const bool is_there = stat(at.c_str(), &info) == 0;
  return {at.string(), !is_there || S_ISREG(info.st_mode)};
}

void check_output(const std::string& option, const std::string& path,
                  const std::vector<std::string>& inputs) {
  if (path == kStandardOutput) return;
  for (const char* packed : {".gz", ".zst"})
    ORTHANT_CHECK(!path.ends_with(packed), kUsage, option, ": ", path,
                  ": is written plain; want a ", "name without ", packed,
                  ", and pack the file afterwards");
  for (const std::string& input : inputs)
    ORTHANT_CHECK(!is_same_file(path, input), kUsage, option, ": ", path, ": is ", input,
                  ", which is read; give another file");
  const OutputPlace place = output_place(path);
  ORTHANT_CHECK(!fs::is_directory(place.path), kCannotWrite, option, ": ", path,
                ": is a folder; want a file");
  const bool is_there = access(place.path.c_str(), F_OK) == 0;
  if (is_there && access(place.path.c_str(), W_OK) != 0)
    throw_cannot_write(concat(option, ": ", path), "write", errno);
  const std::string folder = folder_of(place.path);
  if (place.is_replaced && access((folder + "/.").c_str(), W_OK | X_OK) != 0)
    throw_cannot_write(concat(option, ": ", path), concat("write into the folder '", folder, "'"),
                       errno);
}

UserOutput::UserOutput(const std::string& path) : path_(path) {
  const OutputPlace place = output_place(path);
  if (place.is_replaced) {
    replacement_.emplace(place.path);
    fd_ = open(replacement_->temporary().c_str(),
               O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0666);
  } else {
    // At the end of what a shell has opened to append to.
    fd_ = path == kStandardOutput ? fcntl(STDOUT_FILENO, F_DUPFD_CLOEXEC, 3)
                                  : open(path.c_str(), O_WRONLY | O_APPEND | O_CLOEXEC);
  }
  if (fd_ < 0) throw_cannot_write(path_, "write", errno);
}

UserOutput::~UserOutput() {
  if (fd_ >= 0) close(fd_);
}

void UserOutput::write(std::string_view text) {
  if (const int error = write_all(fd_, text)) throw_cannot_write(path_, "write", error);
}

void UserOutput::commit() {
  const int fd = fd_;
  fd_ = -1;
  if (close(fd) != 0 && errno != EINTR) throw_cannot_write(path_, "write", errno);
  if (replacement_) replacement_->commit();
}

}  // namespace orthant
