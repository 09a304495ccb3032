// SPDX-License-Identifier: Apache-2.0
#include "trainer/closeness.h"

#include <algorithm>
#include <bit>
#include <cmath>
#include <cstdint>
#include <cstdio>
#include <limits>

namespace orthant {
namespace {

constexpr double kInfinite = std::numeric_limits<double>::infinity();

double largest_entry(const std::vector<double>& values) {
  double largest = 0;
  for (double v : values) largest = std::max(largest, std::abs(v));
  return largest;
}

double largest_gap(const std::vector<double>& got, const std::vector<double>& want) {
  if (got.size() != want.size()) return kInfinite;
  double gap = 0;
  for (size_t i = 0; i < got.size(); ++i) {
    const double d = std::abs(got[i] - want[i]);
    if (!std::isfinite(d)) return kInfinite;
    gap = std::max(gap, d);
  }
  return gap;
}

}  // namespace

WorstDifference worst_difference(const NamedValues& got, const NamedValues& want) {
  double largest = 0;
  for (const auto& [name, values] : want) largest = std::max(largest, largest_entry(values));
  WorstDifference worst;
  const auto offer = [&](double error, const std::string& name) {
    if (worst.tensor.empty() || error > worst.error) worst = {error, name};
  };
  for (const auto& [name, values] : want) {
    const auto found = got.find(name);
    const double gap = found == got.end() ? kInfinite : largest_gap(found->second, values);
    const double scale = std::max(largest_entry(values), 1e-3 * largest);
    offer(gap == 0 ? 0.0 : gap / scale, name);
  }
  for (const auto& [name, values] : got)
    if (!want.contains(name)) offer(kInfinite, name);
  return worst;
}

std::string first_bit_difference(const NamedValues& got, const NamedValues& want) {
  for (const auto& [name, values] : want) {
    const auto found = got.find(name);
    if (found == got.end() || found->second.size() != values.size()) return name + ": sizes differ";
    for (size_t i = 0; i < values.size(); ++i) {
      const double g = found->second[i];
      if (std::bit_cast<uint64_t>(g) == std::bit_cast<uint64_t>(values[i])) continue;
      char text[96];
      std::snprintf(text, sizeof(text), "[%zu]: got %.17g, want %.17g", i, g, values[i]);
      return name + text;
    }
  }
  for (const auto& [name, values] : got)
    if (!want.contains(name)) return name + ": not expected";
  return "";
}

}  // namespace orthant
