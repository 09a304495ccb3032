// SPDX-License-Identifier: Apache-2.0
// Lines for people, on stderr (stdout belongs to results).  Thread-safe.
//   info, warn: rank 0 only.   all: every rank, with its label in front.   error: every rank.
#pragma once

#include <string>

#include "base/text.h"

namespace orthant::log {

enum class Level { kInfo, kWarn, kError };

void write(Level level, bool every_rank, const std::string& line);
// Everything that this rank logs also goes to this file, with the time.  Process-wide.
void open_file(const std::string& path);
// Quiet: only warnings and errors reach the console; a file still gets everything.
void set_quiet(bool quiet);
// Called before a line is printed, to clear a progress bar, and after it, to draw it again.
void set_console_hooks(void (*before)(), void (*after)());

template <class... Parts>
void info(const Parts&... parts) {
  write(Level::kInfo, false, concat(parts...));
}
template <class... Parts>
void warn(const Parts&... parts) {
  write(Level::kWarn, false, concat(parts...));
}
template <class... Parts>
void all(const Parts&... parts) {
  write(Level::kInfo, true, concat(parts...));
}
template <class... Parts>
void error(const Parts&... parts) {
  write(Level::kError, true, concat(parts...));
}

}  // namespace orthant::log
