// SPDX-License-Identifier: Apache-2.0
// Layouts over all axes at once, and a list of them in which every pair of values meets.
#pragma once

#include <string>
#include <vector>

#include "tests/layouts/engine_run.h"

namespace orthant::testing {

// A layout of one of the models of grid_models().  Rows of a step are packed, padded, masked and
// plain by turns (tests/testing/random_batches.h), whatever the layout.
struct GridLayout {
  std::string model;
  int dp = 1, tp = 1, cp = 1, pp = 1, ep = 1, etp = 1;
  bool sp = true, ulysses = false;  // with tp > 1, cp > 1
  std::string schedule = "1f1b";    // with pp > 1
  int zero = 1, micro_batch_size = 1;
  std::string recompute = "none";
  bool tied = false, window = false, drop = false;  // of the model
  bool narrow = false;  // with tp > 1: inner widths below tp, so that some ranks' shares are empty

  int ranks() const { return dp * tp * cp * pp; }
  std::string text() const;
  Variant variant() const;
  LayoutOptions options() const;
};

// A list of valid layouts of at most max_ranks ranks, in which every two values of two axes meet
// twice that meet in any valid one.  The same list on every call.
struct GridCover {
  std::vector<GridLayout> layouts;
  int pairs = 0;  // that can meet
};
GridCover pairwise_layouts(int max_ranks);

}  // namespace orthant::testing
