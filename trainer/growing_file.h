// SPDX-License-Identifier: Apache-2.0
// The output of long work, which goes on where it was interrupted.
//
// OUTPUT.partial has what is finished.  OUTPUT.partial.jsonl says in its first line of what work,
// and in each next one how far that is; both are on the disk before more is done.  At the end the
// first takes the place of OUTPUT, which is there whole or not at all.  A device, a pipe or
// standard output (base/user_output.h) gets the text as it comes, and nothing is kept.
//
// Invariants:
//  (G1) A line of the journal comes after the text it counts was synchronised: bytes behind it are
//       of a part that was interrupted, and are cut off; so is a line without an end.
//  (G2) The journal goes last: an empty partial file beside one is the next work's.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>

#include "base/user_output.h"

namespace orthant {

// Of the work, what is in the file.
struct WorkDone {
  int64_t parts = 0;     // of the input
  std::string checksum;  // of that part of the input
  int64_t texts = 0;
};

class GrowingFile {
 public:
  // work: what tells the work from others, such as that of other options.  Error(kCannotWrite):
  // what is there was begun by other work, or another process is at it.
  GrowingFile(const std::string& path, std::string work);
  ~GrowingFile();
  GrowingFile(const GrowingFile&) = delete;
  GrowingFile& operator=(const GrowingFile&) = delete;

  const WorkDone& done() const { return done_; }
  std::string partial() const { return place_ + ".partial"; }
  // Durable when it returns.
  void add(const std::string& text, const WorkDone& done);
  void commit();

 private:
  std::string journal() const { return partial() + ".jsonl"; }
  void open_partial();
  void read_journal();
  void cut(int fd, int64_t bytes) const;
  void append(int fd, const std::string& text) const;
  void close_files();

  std::string path_, place_, work_;
  std::optional<UserOutput> straight_;
  WorkDone done_;
  int64_t bytes_ = 0;
  int fd_ = -1, journal_fd_ = -1;
};

}  // namespace orthant
