// SPDX-License-Identifier: Apache-2.0
#include "parallel/tied_stages.h"

#include "tensor/ops/elementwise.h"

namespace orthant {

// Lookup and head are cut alike: what this rank owns of one, its partner owns of the other.
void TiedStages::add_gradients(const GradientBuffers& gradients) const {
  if (!parameter_.trainable()) return;
  const Tensor own = gradients.sum_of(parameter_);
  if (pair_.rank() == 1) {
    pair_.send(own, 0).wait();
    return;
  }
  const Tensor head = Tensor::like(own);
  pair_.recv(head, 1).wait();
  ops::add(own, head, own);
}

void TiedStages::share_value() const {
  pair_.broadcast(parameter_.value(), 0).wait();
  if (pair_.rank() == 1) parameter_.value_changed();
}

}  // namespace orthant
