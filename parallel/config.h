// SPDX-License-Identifier: Apache-2.0
// What a user says about the layout of a run over ranks.
#pragma once

#include <string>

#include "base/fields.h"

namespace orthant {

struct ParallelConfig {
  int64_t data_parallel_size = 0;  // 0: what the number of ranks leaves
  int64_t zero_stage = 1;
  int64_t expert_parallel_size = 1;
  int64_t expert_tensor_parallel_size = 1;
  std::string recompute = "none";
  double timeout_seconds = 600.0;
  int64_t bucket_bytes = 8 << 20;  // of gradients that are reduced at once; no key
  std::string device_transport = "auto";

  void fields(FieldVisitor& v);
  std::string text() const;  // "dp 4, ep 2"; of a resolved one
  // Settles data_parallel_size.  `micro_batches` is their number in a step: Error(kConfig) when the
  // ranks cannot share them evenly, naming the nearest world sizes that can.
  void resolve(int world_size, int64_t micro_batches);
  // Error(kConfig) when the ranks cannot share the experts; num_experts 0: a dense model.
  void check_experts(int world_size, int64_t num_experts, int64_t expert_width) const;
};

}  // namespace orthant
