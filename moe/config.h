// SPDX-License-Identifier: Apache-2.0
// What a user says about routing and balance, beside the sizes in `model:`.
#pragma once

#include "base/fields.h"

namespace orthant {

struct BalanceConfig {
  double expert = 0.001;  // alpha_1 of DeepSeek-V2's expert-level loss
  double z_loss = 0.0;
};

struct MoeConfig {
  BalanceConfig balance;
  void fields(FieldVisitor& v);
};

}  // namespace orthant
