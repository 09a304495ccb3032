// SPDX-License-Identifier: Apache-2.0
#include "checkpoint/new_folder.h"

#include <fcntl.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstdio>
#include <filesystem>

#include "base/durable_file.h"
#include "base/error.h"
#include "base/log.h"
#include "checkpoint/file_io.h"

namespace orthant {
namespace {

namespace fs = std::filesystem;

// Absolute and without links, so that the two names are on one file system.
std::string settled(const std::string& path) {
  std::string place = fs::weakly_canonical(fs::absolute(path)).string();
  while (place.size() > 1 && place.ends_with('/')) place.pop_back();
  return place;
}

void check_free(const std::string& path, const std::string& place) {
  struct stat folder {
  }, parent{};
  if (stat(place.c_str(), &folder) != 0) {
    ORTHANT_CHECK(!path_exists(place), kCannotWrite, path, ": is a link to nothing");
    return;
  }
  ORTHANT_CHECK(S_ISDIR(folder.st_mode), kCannotWrite, path, ": is a file; want a folder to make");
  ORTHANT_CHECK(list_directory(place).empty(), kCannotWrite, path,
                ": is not empty; give a folder that is not there yet");
  // Nothing can be renamed over one.
  ORTHANT_CHECK(stat(folder_of(place).c_str(), &parent) != 0 || parent.st_dev == folder.st_dev,
                kCannotWrite, path, ": is where a file system is mounted; give a folder in it");
}

}  // namespace

std::string unfinished_folder(const std::string& path) { return settled(path) + ".unfinished"; }

NewFolder::NewFolder(const std::string& path)
    : path_(settled(path)), temporary_(unfinished_folder(path)) {
  check_free(path, path_);
  make_folders(folder_of(path_), path);
  if (mkdir(temporary_.c_str(), 0777) != 0 && errno != EEXIST)
    throw_cannot_write(path, "make the directory", errno);
  try {
    take();
  } catch (...) {
    close(fd_);
    throw;
  }
}

void NewFolder::take() {
  fd_ = open(temporary_.c_str(), O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
  if (fd_ < 0) throw_cannot_write(temporary_, "open", errno);
  // A file system without locks has none that is held.
  const bool is_held = flock(fd_, LOCK_EX | LOCK_NB) != 0 && errno == EWOULDBLOCK;
  struct stat ours {
  }, named{};
  const bool is_there = fstat(fd_, &ours) == 0 && stat(temporary_.c_str(), &named) == 0 &&
                        ours.st_ino == named.st_ino;
  ORTHANT_CHECK(!is_held && is_there, kCannotWrite, path_, ": another process is writing it");
  const std::vector<std::string> left = list_directory(temporary_);
  if (!left.empty()) log::info(temporary_, ": was left by a process that was ended; it is cleared");
  for (const std::string& name : left) remove_tree(temporary_ + "/" + name);
}

NewFolder::~NewFolder() {
  std::error_code ignored;
  if (!committed_) fs::remove_all(temporary_, ignored);
  close(fd_);
}

void NewFolder::commit() {
  sync_folder(temporary_);
  if (rename(temporary_.c_str(), path_.c_str()) != 0) throw_cannot_write(path_, "make", errno);
  committed_ = true;
  sync_folder(folder_of(path_));
}

}  // namespace orthant
