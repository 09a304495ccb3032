// SPDX-License-Identifier: Apache-2.0
#include "base/thread.h"

namespace orthant {

std::string why_no_thread(const std::system_error& error) {
  return concat("cannot start a thread: ", error.code().message(),
                "; the system limits them: look at ulimit -u and a container's pids limit");
}

}  // namespace orthant
