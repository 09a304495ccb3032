// SPDX-License-Identifier: Apache-2.0
// The variants write on from prompts, on any layout.
#pragma once

#include <vector>

#include "tests/layouts/engine_run.h"

namespace orthant::testing {

struct Written {
  std::vector<std::vector<int32_t>> tokens;              // by request
  std::vector<std::vector<std::vector<double>>> logits;  // by request and place
};

// Prompts of different lengths, all at once, for different numbers of tokens; most go past the
// longest sequence of the variants, and one ends by itself.
inline constexpr size_t kDecodeRequests = 6;

// The likeliest tokens behind prompts [begin, end), by this rank of the layout; logits are on ranks
// that hold the last stage.  Collective.
Written write_on(const Variant& variant, const LayoutOptions& options, const Group& world,
                 size_t begin = 0, size_t end = kDecodeRequests);

}  // namespace orthant::testing
