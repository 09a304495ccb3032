// SPDX-License-Identifier: Apache-2.0
#include "trainer/run/run_dir.h"

#include <unistd.h>

#include <cerrno>
#include <filesystem>
#include <functional>

#include "base/durable_file.h"
#include "base/error.h"

namespace orthant {
namespace {

// A failure says what to do about it.
void in_run_dir(const std::function<void()>& work) {
  try {
    work();
  } catch (const Error& error) {
    throw_error(error.kind(), concat(error.what(), "; choose another run.dir, or mend this one"));
  }
}

}  // namespace

std::string RunPaths::log_file(int rank) const {
  std::string number = std::to_string(rank);
  if (number.size() < 5) number.insert(0, 5 - number.size(), '0');
  return concat(dir, "/logs/rank-", number, ".log");
}

RunPaths run_of_checkpoint(const std::string& checkpoint) {
  namespace fs = std::filesystem;
  const fs::path up = fs::path(checkpoint) / ".." / "..";
  // Only the file system knows where a link goes.
  if (fs::is_symlink(checkpoint)) return {up.string()};
  std::string dir = up.lexically_normal().string();
  while (dir.size() > 1 && dir.ends_with('/')) dir.pop_back();
  return {dir};
}

void create_run_dir(const RunPaths& paths) {
  in_run_dir([&] {
    for (const std::string& dir : {paths.dir, paths.checkpoints(), paths.dir + "/logs"})
      make_folders(dir);
    check_writable(paths.dir);
    check_writable(paths.checkpoints());
  });
}

void check_writable(const std::string& dir) {
  const std::string path = dir + "/.write-test";
  replace_file(path, std::string(4096, ' '));  // a full disk shows with content only
  if (unlink(path.c_str()) != 0) throw_cannot_write(path, "remove", errno);
}

}  // namespace orthant
