// SPDX-License-Identifier: Apache-2.0
#include "trainer/run/work_progress.h"

#include <algorithm>

#include "base/clock.h"
#include "base/log.h"
#include "trainer/run/progress.h"

namespace orthant {

WorkProgress::WorkProgress(const WorkProgressOptions& options)
    : options_(options), begin_(now_seconds()), last_(begin_) {}

void WorkProgress::at(int64_t done, int64_t tokens) {
  const double now = now_seconds();
  if (now - last_ < options_.seconds_between) return;
  last_ = now;
  log::info(line(done, tokens, now - begin_));
}

std::string WorkProgress::line(int64_t done, int64_t tokens, double seconds) const {
  const auto& [command, noun, total, begins_at, seconds_between] = options_;
  std::string text = concat(command, ": ", with_thousands(done));
  if (total > 0)
    text += concat(" of ", counted(total, noun.c_str()), " (", 100 * done / total, "%)");
  else
    text += concat(" ", noun, "s");
  if (tokens > 0)
    text += concat(
        ", ", with_thousands(tokens), " tokens, ",
        with_thousands(static_cast<int64_t>(static_cast<double>(tokens) / std::max(seconds, 1e-9))),
        " tokens/s");
  if (total > 0 && done > begins_at)
    text += concat(", eta ", clock_text(seconds * static_cast<double>(total - done) /
                                        static_cast<double>(done - begins_at)));
  return text;
}

}  // namespace orthant
