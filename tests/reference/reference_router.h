// SPDX-License-Identifier: Apache-2.0
// Routing of one row by the reference model: choice, gates, dropping, balance losses, gradient.
#pragma once

#include "tests/reference/reference_model.h"

namespace orthant::testing {

// What the router of a layer did with a row of T tokens.
struct RouterPass {
  std::vector<bool> padding;         // [T]
  Matrix logits, scores;             // [T, E]
  std::vector<double> lse;           // [T], of the logits
  std::vector<int> chosen;           // [T * A], best first, -1 for padding; before dropping
  std::vector<bool> kept;            // [T * A]
  std::vector<double> gates;         // [T * A]: factor of the expert's output, also where dropped
  std::vector<double> dloss_dshare;  // [E]: gradient of the balance losses by P
  double tokens = 0;                 // T without padding
  double balance = 0;                // tokens * the row's balance losses and z-loss
};

// bias [E] or empty; replay: choices instead of the best.
RouterPass route_row(const ReferenceShape& shape, const Matrix& logits,
                     const std::vector<double>& bias, const ReferenceRow& row,
                     const std::vector<int>* replay);

// By the logits; dgates [T * A], and balance_factor times the gradient of `balance`.
Matrix router_backward(const ReferenceShape& shape, const RouterPass& pass,
                       const std::vector<double>& dgates, double balance_factor);

}  // namespace orthant::testing
