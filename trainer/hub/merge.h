// SPDX-License-Identifier: Apache-2.0
// A model and the adapters beside it become one model, W + s B A.
#pragma once

#include <cstdint>
#include <optional>
#include <string>

namespace orthant {

// In a manifest's `extra`: the checkpoint that adapters were merged into, and its fingerprint.
inline constexpr const char* kMergedIntoKey = "merged_into";
// MergeOptions::into: the model that a quantised base was made of, where it was then.
inline constexpr const char* kOriginal = "original";

struct MergeOptions {
  std::string model;    // a run directory or one of its checkpoints
  std::string run_dir;  // made; must not hold a checkpoint yet
  std::string adapter;  // as of open_adapter; empty: those that the model trained
  // Of a quantised base: what is merged into.  Empty: its weights as they were trained beside,
  // dequantised; kOriginal, or a path: the model that it was quantised from.
  std::string into;
  bool may_untie = true;  // else Error(kConfig) where head and embedding would become two weights
  int64_t shard_bytes = int64_t{4} << 30;
};
struct MergeResult {
  std::string base, base_fingerprint;  // the checkpoint that was merged into
  int64_t merged = 0, replaced = 0, tensors = 0;
  bool was_untied = false;  // head and embedding were one weight, and had adapters
  // Between the two: the largest difference of a logit on a few drawn rows of tokens, and the
  // largest logit there.
  double difference = 0, largest = 0;
  // Of a quantised base: whether its dequantised weights were merged into, where the model is (or
  // was) that it was made of, and, where that is found, how far logits would differ with it for the
  // base instead.
  bool dequantised = false;
  std::string original;
  std::optional<double> original_difference;
};
// Writes a run directory as import does of the merged model.  Sums are made in fp64 and rounded
// once, to the base's dtype.  Memory: the largest tensor in fp64, and for the comparison the model.
// Nothing is left behind where it fails.  Nothing is quantised again: the merged model is whole.
// Error(kConfig): no adapters, or two kinds of them; Error(kMissingInput): no such original;
// Error(kData): an adapter that belongs to no weight of the base.  Not collective.
MergeResult merge_model(const MergeOptions& options);

}  // namespace orthant
