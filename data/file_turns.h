// SPDX-License-Identifier: Apache-2.0
// Several files at once, as if they were taken one after the other.
#pragma once

#include <cstddef>

#include "base/function_ref.h"

namespace orthant {

// A file's turn on one of the threads ("lanes").
class FileTurn {
 public:
  size_t file = 0;
  size_t lane = 0;  // in [0, num_file_lanes); one turn in a lane at a time

  // To be asked now and then: false where an earlier file has failed, and nothing of this one is
  // wanted.  While it is asked, context().num_threads becomes this file's share of the threads: all
  // of them where it is the last one.
  bool goes_on() const;

 private:
  friend class FileTurns;
  explicit FileTurn(class FileTurns& turns) : turns_(turns) {}
  class FileTurns& turns_;
};

// How many of so many files are taken at once: one for each thread at most.
size_t num_file_lanes(size_t num_files);

// Calls body for every file, the first ones first.  Throws what the first file that failed threw,
// in the order of the files.
void for_each_file(size_t num_files, FunctionRef<void(FileTurn& turn)> body);

}  // namespace orthant
