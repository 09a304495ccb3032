// SPDX-License-Identifier: Apache-2.0
// Lines of a user's file that cannot be used: an error that names the line, or left out, counted
// and named (--bad-lines).
#pragma once

#include <cstdint>
#include <functional>
#include <string>
#include <vector>

#include "data/text_notes.h"

namespace orthant {

class SkippedLines {
 public:
  explicit SkippedLines(BadLines policy) : policy_(policy) {}

  // Runs `work` on the line at `where`, "FILE:LINE".  An Error(kData) that does not begin with it
  // does then.  False: the line is left out.
  bool use(const std::string& where, const std::function<void()>& work);
  int64_t count() const { return count_; }
  // Warns of them, if there are any.
  void tell(const std::string& command) const;

 private:
  BadLines policy_;
  int64_t count_ = 0;
  std::vector<std::string> first_;
};

}  // namespace orthant
