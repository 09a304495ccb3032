// SPDX-License-Identifier: Apache-2.0
// A folder that appears complete or not at all.
//
// It is written beside its place and renamed at the end.  What a killed process left there is
// cleared by the next one that writes the same folder; two at once are refused, by a flock() on
// the folder that the system drops with the process.
#pragma once

#include <string>

namespace orthant {

// Where the folder `path` is written until it is complete.
std::string unfinished_folder(const std::string& path);

class NewFolder {
 public:
  // Makes the parents too.  Error(kCannotWrite): something is at `path` that is no empty folder, it
  // cannot be made, or another process writes it.
  explicit NewFolder(const std::string& path);
  ~NewFolder();  // removes what was not committed
  NewFolder(const NewFolder&) = delete;
  NewFolder& operator=(const NewFolder&) = delete;

  const std::string& temporary() const { return temporary_; }
  void commit();

 private:
  void take();

  std::string path_, temporary_;
  int fd_ = -1;
  bool committed_ = false;
};

}  // namespace orthant
