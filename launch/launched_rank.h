// SPDX-License-Identifier: Apache-2.0
// A rank that orthant launch started: a process that runs the program as its child and tells the
// launcher how that ended.  To mpirun it ends with 0 whatever the program's exit code is: Open MPI
// 4.1 ends the other ranks because of a code, and may hang at that.
#pragma once

#include <optional>
#include <string>
#include <vector>

namespace orthant {

// How a rank ended.
struct RankEnd {
  int rank = 0, status = 0;  // as of waitpid()
};

// Where the ranks of this machine tell how they ended.
class RankEnds {
 public:
  RankEnds();  // kDevice where there is no socket to be had
  ~RankEnds();
  RankEnds(const RankEnds&) = delete;
  RankEnds& operator=(const RankEnds&) = delete;
  const std::string& address() const { return address_; }
  int file() const { return file_; }    // readable when there is news
  std::optional<RankEnd> next() const;  // if any

 private:
  int file_ = -1;
  std::string address_;
};

// Ends this process as mpirun shall see it.
[[noreturn]] void run_as_rank(const std::string& address, const std::string& program,
                              const std::vector<std::string>& arguments);

// Becomes the program; the words' first is its file.  Only returns where that cannot be run.
void become(std::vector<std::string> words);

}  // namespace orthant
