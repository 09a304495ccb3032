// SPDX-License-Identifier: Apache-2.0
// How the frequencies of a rotary embedding are changed for texts longer than those it was trained
// on, in the key names of config.json (rope_scaling, or rope_parameters).
#pragma once

#include <vector>

#include "base/config/fields.h"

namespace orthant {

class Problems;

enum class RopeType { kDefault, kLinear, kLlama3, kYarn };
const EnumNames<RopeType>& rope_type_names();

struct RopeScaling {
  RopeType rope_type = RopeType::kDefault;
  double factor = 1.0;  // how much longer
  int64_t original_max_position_embeddings = 0;
  double low_freq_factor = 1.0, high_freq_factor = 4.0;  // Llama 3
  double beta_fast = 32.0, beta_slow = 1.0;              // YaRN
  double mscale = 0.0, mscale_all_dim = 0.0;
  double attention_factor = 0.0;  // on cos and sin; 0 = as YaRN says
  // Of the model, which rope_parameters has in here; 0 = as the model says.
  double rope_theta = 0.0, partial_rotary_factor = 0.0;

  void fields(FieldVisitor& v);
  // longest: max_position_embeddings.
  void resolve(int64_t longest, Problems& problems);

  // Of `dim` rotated columns, [dim / 2].  Linear: Chen et al., arXiv:2306.15595.  Llama 3:
  // Grattafiori et al., arXiv:2407.21783, and its published code.  YaRN: Peng et al.,
  // arXiv:2309.00071.
  std::vector<double> frequencies(int64_t dim, double theta) const;
  // On cos and sin.
  double table_factor() const;
  // On the scores of latent attention, whose parts without positions are scaled too.
  double latent_softmax_factor() const;
};

}  // namespace orthant
