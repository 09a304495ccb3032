// SPDX-License-Identifier: Apache-2.0
// What a rank does beside waiting: shows on its status page where it waits, warns when that takes
// long, and ends the wait when it is in vain or too long.
//
// In vain means proven (about once a second it looks): a rank that has not begun this collective
//   (I1) has failed, has ended, or its process is gone; or
//   (I2) itself waits in a collective of another group, for this rank, which has not begun that
//        one.
// Ranks on other hosts cannot be looked at: they are late until the deadline.
#pragma once

#include <string>
#include <vector>

#include "parallel/comm/group_impl.h"

namespace orthant {

class Watch {
 public:
  Watch(CommState& state, WorkImpl& work);
  ~Watch();  // the wait is over
  Watch(const Watch&) = delete;
  Watch& operator=(const Watch&) = delete;

  // Called again and again during the wait; Error(kComm).  Returns when to call it at the latest.
  double look();

 private:
  void warn(double waited);
  void check_hopeless();
  // "has ended"; "" when the rank may still come.
  std::string hopeless_because(int rank) const;
  [[noreturn]] void fail(const std::string& why, const std::string& advice);
  // "all_reduce on group world: <what> (24 B f32, sequence 7, step 3, called at ...)".
  std::string headline(const std::string& what) const;
  // Where every rank of the group is, those that are missing first; one a line.
  std::string whereabouts() const;
  std::string where_is(int world_rank) const;

  CommState& state_;
  WorkImpl& work_;
  double start_, looked_, deadline_, next_diagnosis_, warn_at_;
  bool warned_ = false, spoke_ = false;
  std::vector<int> late_;  // those that the warning named
};

}  // namespace orthant
