// SPDX-License-Identifier: Apache-2.0
// The processes of this machine.
#pragma once

#include <sys/types.h>

#include <string>
#include <vector>

namespace orthant {

struct Process {
  pid_t id = 0, parent = 0;
  std::string name;
  bool is_zombie = false;  // has ended, and its parent has not looked yet
};

// All that /proc shows.
std::vector<Process> all_processes();

// Those of them that live and that `ancestor` started, directly or not.
std::vector<Process> living_descendants(pid_t ancestor);

}  // namespace orthant
