// SPDX-License-Identifier: Apache-2.0
// What the console shows of long work that is no training: a line every few seconds.
//
//   generate: 128 of 1,024 texts (12%), 25,600 tokens, 310 tokens/s, eta 0:09:12
#pragma once

#include <cstdint>
#include <string>

namespace orthant {

struct WorkProgressOptions {
  std::string command, noun;  // "generate", "text"
  int64_t total = 0;          // 0: not known
  int64_t begins_at = 0;      // done by an earlier process
  double seconds_between = 5.0;
};

class WorkProgress {
 public:
  explicit WorkProgress(const WorkProgressOptions& options);
  // tokens, if any: since the beginning.
  void at(int64_t done, int64_t tokens = 0);

 private:
  std::string line(int64_t done, int64_t tokens, double seconds) const;

  WorkProgressOptions options_;
  double begin_, last_;
};

}  // namespace orthant
