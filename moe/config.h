// SPDX-License-Identifier: Apache-2.0
// What a user says about routing and balance, beside the sizes in `model:`.
#pragma once

#include "base/config/fields.h"

namespace orthant {

// A number that the user left open: resolve_routing() (model/config.h) settles it.
inline constexpr double kOpen = -1.0;

// Factors of the balance losses (moe/balance.h); 0 = off.
struct BalanceConfig {
  double expert = kOpen;       // DeepSeek-V2's alpha_1
  double device = 0.0;         // alpha_2
  double communication = 0.0;  // alpha_3
  double sequence = kOpen;     // DeepSeek-V3's alpha
  double z_loss = 0.0;
};

struct MoeConfig {
  BalanceConfig balance;
  double capacity_factor = 0.0;     // of an expert group, per sequence; 0 = nothing is dropped
  double bias_update_rate = kOpen;  // DeepSeek-V3's gamma
  void fields(FieldVisitor& v);
};

}  // namespace orthant
