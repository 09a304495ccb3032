// SPDX-License-Identifier: Apache-2.0
// An embedding and a head that share one weight, on the first and the last stage of a pipeline.
//
// The first stage owns it.  The last stage has a mirror (Tied::kMirror): a value that
// comes from the owner, and a gradient that goes there once it was summed over replicas.
#pragma once

#include "parallel/gradient_buffers.h"

namespace orthant {

class TiedStages {
 public:
  // pair: the ranks with this copy of the weight on the first (rank 0) and the last stage.
  // parameter: this rank's, owner or mirror.
  TiedStages(const Group& pair, Parameter& parameter) : pair_(pair), parameter_(parameter) {}
  // After GradientBuffers::finish_step: lookup + head, on the owner; nothing of a frozen weight.
  // Collective over the pair.
  void add_gradients(const GradientBuffers& gradients) const;
  // After the owner's value was written.  Collective over the pair.
  void share_value() const;

 private:
  Group pair_;
  Parameter& parameter_;
};

}  // namespace orthant
