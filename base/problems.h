// SPDX-License-Identifier: Apache-2.0
// Collects all that is wrong, a line each, to be thrown together as one Error.
//
//   Problems problems;
//   problems.want(heads % tp == 0, "tensor_parallel_size: ", tp, " does not divide ", heads);
//   problems.collect([&] { schedule.validate(); });
//   problems.raise();
#pragma once

#include <string>
#include <utility>
#include <vector>

#include "base/error.h"

namespace orthant {

class Problems {
 public:
  void add(std::string line) { lines_.push_back(std::move(line)); }
  template <class... Parts>
  void want(bool condition, const Parts&... parts) {
    if (!condition) add(concat(parts...));
  }
  // What `check` throws as an Error, which may be several lines.
  template <class Check>
  void collect(Check&& check) {
    try {
      check();
    } catch (const Error& error) {
      add(error.what());
    }
  }

  bool empty() const { return lines_.empty(); }
  const std::vector<std::string>& lines() const { return lines_; }
  // Throws Error(kConfig) if there is anything.
  void raise() const {
    if (lines_.empty()) return;
    std::string text = lines_.front();
    for (size_t i = 1; i < lines_.size(); ++i) text += "\n" + lines_[i];
    throw_error(ErrorKind::kConfig, text);
  }

 private:
  std::vector<std::string> lines_;
};

}  // namespace orthant
