// SPDX-License-Identifier: Apache-2.0
#include "base/ledger.h"

#include <algorithm>
#include <numeric>

namespace orthant {
namespace {

// What a step makes and drops again.
int64_t step_bytes_of(const MemoryBytes& bytes) {
  return bytes[MemoryCategory::kActivations] + bytes[MemoryCategory::kWorkspace] +
         bytes[MemoryCategory::kCommunication];
}

bool is_of_step(MemoryCategory category) {
  MemoryBytes one;
  one[category] = 1;
  return step_bytes_of(one) > 0;
}

}  // namespace

std::string_view name_of(MemoryCategory category) {
  static constexpr std::array<std::string_view, kNumMemoryCategories> kNames = {
      "parameters", "gradients", "optimizer", "activations", "cache", "workspace", "communication"};
  return kNames[static_cast<size_t>(category)];
}

int64_t MemoryBytes::total() const {
  return std::accumulate(by_category.begin(), by_category.end(), int64_t{0});
}

void MemoryPeaks::merge(const MemoryPeaks& other) {
  for (size_t i = 0; i < each.by_category.size(); ++i)
    each.by_category[i] = std::max(each.by_category[i], other.each.by_category[i]);
  if (other.total() > total()) at_peak = other.at_peak;
  step_bytes = std::max(step_bytes, other.step_bytes);
  block_bytes = std::max(block_bytes, other.block_bytes);
}

void Ledger::add(MemoryCategory category, int64_t bytes) {
  const std::lock_guard lock(mutex_);
  now_[category] += bytes;
  if (bytes <= 0) return;
  peaks_.each[category] = std::max(peaks_.each[category], now_[category]);
  peaks_.step_bytes = std::max(peaks_.step_bytes, step_bytes_of(now_));
  if (is_of_step(category)) peaks_.block_bytes = std::max(peaks_.block_bytes, bytes);
  if (now_.total() > peaks_.total()) peaks_.at_peak = now_;
}

int64_t Ledger::bytes(MemoryCategory category) const {
  const std::lock_guard lock(mutex_);
  return now_[category];
}

int64_t Ledger::total_bytes() const {
  const std::lock_guard lock(mutex_);
  return now_.total();
}

MemoryPeaks Ledger::peaks() const {
  const std::lock_guard lock(mutex_);
  return peaks_;
}

void Ledger::reset_peaks() {
  const std::lock_guard lock(mutex_);
  peaks_ = {.each = now_, .at_peak = now_, .step_bytes = step_bytes_of(now_)};
}

}  // namespace orthant
