// SPDX-License-Identifier: Apache-2.0
// The tiny models that layouts are proved on, between them with everything that a layout could get
// wrong.
#pragma once

#include <string>
#include <vector>

#include "data/micro_batch.h"
#include "trainer/run_config.h"

namespace orthant::testing {

struct Variant {
  std::string name;
  RunConfig config;  // not resolved: how it runs is added by LayoutOptions
};

// At most 60K parameters, 8 layers, 128 tokens a step.
const std::vector<Variant>& all_variants();
const Variant& find_variant(const std::string& name);
// Large enough for every kernel to share its work among threads.
Variant wide_variant();
// The same model with another number of micro-batches in a step.
Variant with_micro_batches(const Variant& variant, int64_t micro_batches);
// The same rows of a step, cut into other micro-batches.
Variant with_micro_batch_size(const Variant& variant, int64_t sequences);

// A step's micro-batches, in global order.
std::vector<MicroBatch> batches_of(const Variant& variant, int64_t step);

}  // namespace orthant::testing
