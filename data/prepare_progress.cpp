// SPDX-License-Identifier: Apache-2.0
#include "data/prepare_progress.h"

#include <algorithm>

#include "base/clock.h"

namespace orthant {
namespace {

constexpr double kSecondsBetween = 0.5;

}  // namespace

PrepareProgress::PrepareProgress(const Report& report, int64_t total_bytes)
    : report_(report), total_bytes_(total_bytes), start_(now_seconds()) {}

void PrepareProgress::begin_tokens() { tokens_start_ = now_seconds(); }

// Calls the user's function, on one thread at a time; the others do not wait for it.
void PrepareProgress::add(int64_t bytes) {
  bytes_ += bytes;
  if (!report_) return;
  const std::unique_lock lock(mutex_, std::try_to_lock);
  if (!lock) return;
  const double now = now_seconds();
  if (now - last_ < kSecondsBetween) return;
  last_ = now;
  const auto done = static_cast<double>(bytes_.load());
  report_(std::min(0.999, done / static_cast<double>(total_bytes_)), rate(now));
}

void PrepareProgress::finish() const {
  if (report_) report_(1.0, rate(now_seconds()));
}

double PrepareProgress::seconds() const { return now_seconds() - start_; }

double PrepareProgress::rate(double now) const {
  const auto tokens = static_cast<double>(tokens_.load());
  return tokens == 0 ? 0.0 : tokens / std::max(1e-6, now - tokens_start_);
}

}  // namespace orthant
