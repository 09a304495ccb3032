// SPDX-License-Identifier: Apache-2.0
// How the next token is drawn from logits.
#pragma once

#include <cstdint>
#include <set>
#include <span>
#include <vector>

#include "trainer/run_blocks.h"

namespace orthant {

// Makes tokens that were there less likely: positive logits are divided by the penalty, negative
// ones multiplied (Keskar et al., "CTRL", arXiv:1909.05858, section 4.1, as transformers does it).
void penalize_repetition(std::vector<double>& logits, const std::set<int32_t>& seen,
                         double penalty);

// The next token: temperature; then of the likeliest top_k tokens, the smallest set of these with
// probability top_p, and those of at least min_p times the probability of the likeliest, all that
// are in each.  Ties go to the lower id.  uniform in (0, 1).  Host, any size.
int32_t draw_token(const std::vector<double>& logits, const SamplingConfig& sampling,
                   double uniform);

// log softmax(logits)[token], summed in f64 in the order of the vocabulary.
double log_probability(std::span<const double> logits, int32_t token);

}  // namespace orthant
