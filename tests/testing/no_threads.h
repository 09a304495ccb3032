// SPDX-License-Identifier: Apache-2.0
// For death tests: a process that the system gives no more threads.
#pragma once

#include <sys/resource.h>
#include <unistd.h>

#include <system_error>
#include <thread>

namespace orthant::testing {

// False where the system goes on giving: the test has nothing to see there.
inline bool forbid_threads() {
  const rlimit one{1, 1};
  // Root has no limit, others do: this process counts itself.
  if (setrlimit(RLIMIT_NPROC, &one) != 0 || (getuid() == 0 && setuid(65534) != 0)) return false;
  try {
    std::thread([] {}).join();
    return false;
  } catch (const std::system_error&) {
    return true;
  }
}

}  // namespace orthant::testing
