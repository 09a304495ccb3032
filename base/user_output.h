// SPDX-License-Identifier: Apache-2.0
// What a user names to be written: a file, which appears complete or not at all; or a device, a
// pipe or standard output, which gets the text as it comes.
//
// Failures to write are Error(kCannotWrite) naming the path and the system's reason.
#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/durable_file.h"

namespace orthant {

struct OutputPlace {
  std::string path;  // of the file itself: links are followed
  // A regular file, or nothing yet: the new file takes its name.  Else "-", a device, a pipe, or
  // what an open file is called under /proc and /dev.
  bool is_replaced = false;
};
OutputPlace output_place(const std::string& path);

// Before the work starts: that `path` can be written, and is none of the files that are read.
// option: "generate: --output", in messages.  Error(kUsage): a name that promises a packed file,
// or one of the inputs; Error(kCannotWrite): a folder, or one that may not be written into.
void check_output(const std::string& option, const std::string& path,
                  const std::vector<std::string>& inputs);

class UserOutput {
 public:
  explicit UserOutput(const std::string& path);
  ~UserOutput();
  UserOutput(const UserOutput&) = delete;
  UserOutput& operator=(const UserOutput&) = delete;
  void write(std::string_view text);
  void commit();

 private:
  std::string path_;
  std::optional<FileReplacement> replacement_;
  int fd_ = -1;
};

}  // namespace orthant
