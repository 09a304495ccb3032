// SPDX-License-Identifier: Apache-2.0
// Which layouts to propose in place of one that cannot be.
#pragma once

#include <functional>
#include <string>

#include "parallel/config.h"

namespace orthant {

// Settles what a layout leaves open and throws Error(kConfig) when `ranks` ranks cannot run it.
using SettleLayout = std::function<void(ParallelConfig& layout, int ranks)>;

// "nearest layouts for 8 ranks: dp 2, tp 4; dp 4, tp 2": up to three sets of sizes that fit, first
// those that change the fewest sizes of `wanted` (data_parallel_size among them where it was
// given), of these the ones with the smallest ratios.  Where none fits this number of ranks, the
// best one of the next numbers below and above.  "" where the sizes of `wanted` would do: something
// else is wrong; a split pipeline_layers is no part of the search.
std::string nearest_layouts(const ParallelConfig& wanted, int ranks, const SettleLayout& settle);

}  // namespace orthant
