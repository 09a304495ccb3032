// SPDX-License-Identifier: Apache-2.0
// What mpirun writes to standard error, without what buries the program's own words: its paragraphs
// (between lines of 74 dashes) about exit codes and aborts, its notes on signals, and the stack
// where it crashed at its end.  All else is kept as it is: other paragraphs, a program's lines of
// dashes, a last line without an end.
#pragma once

#include <sys/types.h>

#include <string>
#include <string_view>

namespace orthant {

class MpirunFilter {
 public:
  explicit MpirunFilter(pid_t mpirun = 0) : mpirun_(mpirun) {}
  // The next bytes; returns what is to be shown by now: whole lines, and no paragraph before it
  // has ended.
  std::string pass(std::string_view bytes);
  // What pass() still holds back: when nothing more came for a while, and at the end.
  std::string release();
  // Whether mpirun said which rank a signal ended.
  bool named_a_death() const { return named_a_death_; }

 private:
  void pass_line(const std::string& line, std::string& shown);

  pid_t mpirun_;
  std::string line_;       // that has no end yet
  std::string paragraph_;  // that has no end yet, with its line of dashes
  bool named_a_death_ = false;
};

}  // namespace orthant
