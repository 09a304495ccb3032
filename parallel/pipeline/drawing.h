// SPDX-License-Identifier: Apache-2.0
// Pictures of timelines: a line a rank, time to the right.
#pragma once

#include <string>
#include <vector>

#include "parallel/pipeline/timeline.h"

namespace orthant::pipeline {

struct NamedTimeline {
  std::string name;  // a caption
  Timeline timeline;
};

// One above the other on one axis of time, each from its own first computation on: what was
// predicted above what was measured, or one schedule above another.  All times in one unit.

// For a terminal of `columns`.  F3 is the forward of micro-batch 3, B3 its backward (by the input
// alone where a W3 follows), W3 the one by the weights; small letters on chunks above the first;
// dots are idle time.  Numbers are left out where they do not all fit.
std::string timeline_text(const std::vector<NamedTimeline>& timelines, int columns);

std::string timeline_svg(const std::vector<NamedTimeline>& timelines);

}  // namespace orthant::pipeline
