// SPDX-License-Identifier: Apache-2.0
// A log file that grows by whole records.
#pragma once

#include <string>
#include <string_view>

namespace orthant {

// A failing write (disk full) is warned of once, leaves no torn record where that can be helped,
// and never throws: training is worth more than its log.
class AppendFile {
 public:
  // Opens for appending, made where it does not exist.  Error(kCannotWrite).
  explicit AppendFile(std::string path);
  ~AppendFile();
  AppendFile(const AppendFile&) = delete;
  AppendFile& operator=(const AppendFile&) = delete;

  // In one write where the system allows it.  `what` names the record in the warning.
  void append(std::string_view record, const std::string& what);
  bool healthy() const { return !warned_; }

 private:
  std::string path_;
  int fd_ = -1;
  bool warned_ = false;
};

}  // namespace orthant
