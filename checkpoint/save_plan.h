// SPDX-License-Identifier: Apache-2.0
// Who writes what: every rank computes the same answer from everybody's slice table.  Pure.
#pragma once

#include <span>
#include <string>
#include <vector>

#include "checkpoint/checkpoint_tensor.h"
#include "checkpoint/manifest.h"

namespace orthant {

// The slices of one rank as text, for Group::gather_text.  Error(kInternal) on a bad name, or data
// whose size is not the slice's.
std::string slice_table_text(std::span<const CheckpointTensor> tensors);

// The manifest's slice table, by name, then by place; `file` of a slice is the rank that writes it,
// checksums are empty.  Among the ranks that hold a slice the one with the fewest bytes so far gets
// it, larger slices first, so bytes are spread evenly and the result does not depend on who asks.
// Error(kInternal) when ranks disagree on dtype or shape, or elements are missing or held twice.
std::vector<ManifestTensor> make_save_plan(std::span<const std::string> tables);

struct ShardItem {
  size_t tensor = 0, slice = 0;  // indices into the plan
};
// What a rank writes, in the order of its file: wide dtypes first, so that all are aligned.
std::vector<ShardItem> shard_items(const std::vector<ManifestTensor>& plan, int64_t rank);

}  // namespace orthant
