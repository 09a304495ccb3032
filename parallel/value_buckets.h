// SPDX-License-Identifier: Apache-2.0
// ZeRO: the values of a bucket's parameters stand in one flat tensor, of which each rank updates
// its own slice and gets the others' from their owners.
//
// Invariants:
//  (V1) Gathers are started for all buckets at once, in the order in which forward needs them, the
//       same on every rank.
//  (V2) While a bucket is on its way nobody reads it but through Parameter::value(), which waits
//       for it, and nobody writes it: finish() comes first.
#pragma once

#include <memory>
#include <vector>

#include "parallel/buckets.h"

namespace orthant {

class ValueBuckets {
 public:
  // Moves the values of the buckets that several ranks share into flat tensors; the parameters keep
  // the result alive.  The buckets must outlive calls of gather().
  static std::shared_ptr<ValueBuckets> adopt(const std::vector<Bucket>& buckets);
  // Starts to get everybody's slices, once finish() was called.  Collective over the buckets'
  // groups.
  void gather();
  // Until a bucket is whole; moves the others on.
  void wait(size_t index);
  // Until all are.
  void finish();

 private:
  struct Values {
    const Bucket* bucket;
    Tensor flat;
    Work arrival;
  };

  std::vector<Values> values_;  // in the order in which forward needs them
  size_t num_arrived_ = 0;      // leading ones
};

}  // namespace orthant
