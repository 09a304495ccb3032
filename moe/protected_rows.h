// SPDX-License-Identifier: Apache-2.0
// Sequences that token dropping leaves alone: about a tenth, as in DeepSeek-V2 (arXiv:2405.04434,
// section 2.2.3), so that a model sees in training what it does without dropping.
#pragma once

#include <span>

#include "tensor/tensor.h"

namespace orthant {

// A function of the global sample id alone: XXH3 of its eight little-endian bytes is a multiple of
// ten.  Never a row of padding (-1).
bool is_protected_sample(int64_t sample_id);

// i32 [S]
Tensor protected_rows(std::span<const int64_t> sample_ids, Device device);

}  // namespace orthant
