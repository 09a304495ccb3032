// SPDX-License-Identifier: Apache-2.0
// How two sets of named tensors differ, in the norm of docs/numerics.md:
//
//   max|a - b| / max(max|b|, 1e-3 * the largest entry of any tensor of the same kind)
//
// A kind is what stands in one map: gradients, or weights, or moments.
#pragma once

#include <map>
#include <string>
#include <vector>

namespace orthant {

// Elements widened to double (exactly) by logical name.
using NamedValues = std::map<std::string, std::vector<double>>;

struct WorstDifference {
  double error = 0;  // of the worst tensor; infinite where names or sizes differ or a NaN stands
  std::string tensor;
};
WorstDifference worst_difference(const NamedValues& got, const NamedValues& want);

// "tensor[index]: got g, want w" of the first element whose bits differ, or of a tensor that only
// one side has; empty when all are equal.
std::string first_bit_difference(const NamedValues& got, const NamedValues& want);

}  // namespace orthant
