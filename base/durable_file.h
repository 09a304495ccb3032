// SPDX-License-Identifier: Apache-2.0
// Files that a crash leaves with their old content or the new one.
//
// The one order that gives this: a temporary file beside the path, all content, fsync, rename,
// fsync of the folder.  New files get the mode 0666 and new folders 0777, less the umask.
// Failures are Error(kCannotWrite) naming the path and the system's reason.
#pragma once

#include <string>
#include <string_view>

namespace orthant {

// "PATH: cannot WHAT: REASON", with the free space where that is what lacks.
[[noreturn]] void throw_cannot_write(const std::string& path, std::string_view what, int error);

// All of the text; 0, or the error number.
int write_all(int fd, std::string_view text);

std::string folder_of(const std::string& path);  // "." for a bare name
// Makes a folder and its parents; existing ones are fine.  `output`: what an error names instead.
void make_folders(const std::string& path, const std::string& output = "");
void sync_folder(const std::string& path);  // what a file system cannot sync is no failure

// Takes the place of `path` at commit(), whatever wrote the temporary file until then.  A symbolic
// link there is replaced, not followed.  The temporary file is removed unless it was committed.
class FileReplacement {
 public:
  // Removes what a killed process of this number left under the temporary name.
  explicit FileReplacement(std::string path);
  ~FileReplacement();
  FileReplacement(const FileReplacement&) = delete;
  FileReplacement& operator=(const FileReplacement&) = delete;

  const std::string& temporary() const { return temporary_; }
  void commit();

 private:
  std::string path_, temporary_;
  bool committed_ = false;
};

// The same for a text at hand.
void replace_file(const std::string& path, std::string_view text);

}  // namespace orthant
