// SPDX-License-Identifier: Apache-2.0
#include "trainer/skipped_lines.h"

#include "base/error.h"
#include "base/log.h"
#include "trainer/run/progress.h"

namespace orthant {
namespace {

constexpr size_t kMostNamed = 5;

}  // namespace

bool SkippedLines::use(const std::string& where, const std::function<void()>& work) {
  try {
    work();
    return true;
  } catch (const Error& error) {
    if (error.kind() != ErrorKind::kData) throw;
    const std::string what = error.what();
    const std::string text = what.starts_with(where) ? what : concat(where, ": ", what);
    if (policy_ == BadLines::kFail) throw_error(ErrorKind::kData, text, error.where());
    if (++count_ <= static_cast<int64_t>(kMostNamed)) first_.push_back(text);
    return false;
  }
}

void SkippedLines::tell(const std::string& command) const {
  if (count_ == 0) return;
  log::warn(command, ": ", counted(count_, "bad line"), count_ == 1 ? " was" : " were", " skipped");
  for (const std::string& text : first_) log::warn("  ", text);
  if (count_ > std::ssize(first_)) log::warn("  and ", count_ - std::ssize(first_), " more");
}

}  // namespace orthant
