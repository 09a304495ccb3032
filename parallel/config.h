// SPDX-License-Identifier: Apache-2.0
// What a user says about the layout of a run over ranks.
#pragma once

#include <string>

#include "base/fields.h"

namespace orthant {

struct ParallelConfig {
  int64_t data_parallel_size = 0;  // 0: what the number of ranks leaves
  std::string recompute = "none";
  double timeout_seconds = 600.0;
  bool check_collectives = false;

  void fields(FieldVisitor& v);
  // Settles data_parallel_size.  `micro_batches` is their number in a step: Error(kConfig) when the
  // ranks cannot share them evenly, naming the nearest world sizes that can.
  void resolve(int world_size, int64_t micro_batches);
};

}  // namespace orthant
