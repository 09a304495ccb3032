// SPDX-License-Identifier: Apache-2.0
#include "base/ledger.h"

namespace orthant {
namespace {

void raise(std::atomic<int64_t>& peak, int64_t value) {
  int64_t seen = peak.load(std::memory_order_relaxed);
  while (seen < value && !peak.compare_exchange_weak(seen, value, std::memory_order_relaxed)) {
  }
}

}  // namespace

std::string_view name_of(MemoryCategory category) {
  static constexpr std::array<std::string_view, kNumMemoryCategories> kNames = {
      "parameters", "gradients", "optimizer", "activations", "cache", "workspace", "communication"};
  return kNames[static_cast<size_t>(category)];
}

void Ledger::add(MemoryCategory category, int64_t bytes) {
  const size_t slot = static_cast<size_t>(category);
  raise(peaks_[slot], now_[slot].fetch_add(bytes, std::memory_order_relaxed) + bytes);
  raise(peak_, total_.fetch_add(bytes, std::memory_order_relaxed) + bytes);
}

int64_t Ledger::bytes(MemoryCategory category) const {
  return now_[static_cast<size_t>(category)].load(std::memory_order_relaxed);
}

int64_t Ledger::peak_bytes(MemoryCategory category) const {
  return peaks_[static_cast<size_t>(category)].load(std::memory_order_relaxed);
}

}  // namespace orthant
