// SPDX-License-Identifier: Apache-2.0
#include "data/prepare_split.h"

#include <cmath>

#include "base/checksum.h"

namespace orthant {
namespace {

constexpr size_t kBins = 65536;

}  // namespace

DocumentBins::DocumentBins() : bytes_(kBins) {}

void DocumentBins::add(std::string_view document) {
  bytes_[bin_of(document)] += static_cast<int64_t>(document.size());
}

size_t DocumentBins::bin_of(std::string_view document) {
  return xxh3_64(document.data(), document.size()) >> 48;
}

Split SplitRule::whole(TextFormat format, std::string_view document) const {
  if (fraction == 0 || format == TextFormat::kText) return Split::kTrain;
  return DocumentBins::bin_of(document) < num_validation_bins ? Split::kValidation : Split::kTrain;
}

SplitRule choose_split(const DocumentBins& bins, double fraction) {
  SplitRule rule{.fraction = fraction};
  if (fraction == 0) return rule;
  int64_t total = 0;
  std::vector<size_t> used;
  for (size_t bin = 0; bin < bins.size(); ++bin) {
    if (bins.bytes(bin) > 0) used.push_back(bin);
    total += bins.bytes(bin);
  }
  rule.cut_lines = used.size() == 1;
  const double target = fraction * static_cast<double>(total);
  double sum = 0, best = INFINITY;
  for (size_t i = 0; i + 1 < used.size(); ++i) {
    sum += static_cast<double>(bins.bytes(used[i]));
    if (std::abs(sum - target) >= best) break;  // sums only grow
    best = std::abs(sum - target);
    rule.num_validation_bins = used[i] + 1;
  }
  return rule;
}

}  // namespace orthant
