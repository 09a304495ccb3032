// SPDX-License-Identifier: Apache-2.0
#include "moe/config.h"

namespace orthant {

void MoeConfig::fields(FieldVisitor& v) {
  v.block("balance", "factors of the balance losses; 0 = off", [this](FieldVisitor& b) {
    b.field(
        "expert", balance.expert, non_negative(),
        "expert-level loss per sequence (DeepSeek-V2's alpha_1, aux_loss_alpha in config.json)");
    b.field("z_loss", balance.z_loss, non_negative(),
            "mean squared logsumexp of the router's logits");
    b.alias("aux_loss_alpha", "expert");
    b.alias("router_aux_loss_coef", "expert");
    b.alias("moe_aux_loss_coeff", "expert");
  });
}

}  // namespace orthant
