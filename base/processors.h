// SPDX-License-Identifier: Apache-2.0
// How many processors this process may keep busy.
#pragma once

#include <string>
#include <string_view>

#include "base/function_ref.h"

namespace orthant {

struct Processors {
  int allowed = 1;   // by the affinity mask
  double quota = 0;  // time of how many a container's control group grants; 0: no limit
  // Threads that make sense: more than the quota, and the kernel stops them all for a part of each
  // period.
  int usable() const;
};
Processors processors();

// The smallest quota of a process's control group (cpu.max, or cpu.cfs_quota_us of version 1) and
// of those around it; 0 where there is none.  `groups` is the text of /proc/self/cgroup, `read`
// returns a file's text, "" where it cannot be read.
double cpu_quota(std::string_view groups, FunctionRef<std::string(const std::string& path)> read);

}  // namespace orthant
