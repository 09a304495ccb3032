// SPDX-License-Identifier: Apache-2.0
#include "moe/config.h"

namespace orthant {

void MoeConfig::fields(FieldVisitor& v) {
  const RealBounds open_or_more{.low = kOpen};
  v.block("balance", "factors of the balance losses; 0 = off", [&](FieldVisitor& b) {
    b.field("expert", balance.expert, open_or_more,
            "expert-level loss per sequence (DeepSeek-V2's alpha_1); -1: model.aux_loss_alpha if "
            "given, else 0.001, and 0 with topk_method noaux_tc");
    b.field("device", balance.device, non_negative(),
            "loss on the even use of the n_group expert groups (alpha_2)");
    b.field("communication", balance.communication, non_negative(),
            "loss on the even number of tokens sent to the n_group expert groups (alpha_3)");
    b.field("sequence", balance.sequence, open_or_more,
            "DeepSeek-V3's loss per sequence, on raw scores; -1: with topk_method noaux_tc "
            "model.aux_loss_alpha if given, else 0.0001; otherwise 0");
    b.field("z_loss", balance.z_loss, non_negative(),
            "mean squared logsumexp of the router's logits");
    b.alias("aux_loss_alpha", "expert");
    b.alias("router_aux_loss_coef", "expert");
    b.alias("moe_aux_loss_coeff", "expert");
  });
  v.field(
      "capacity_factor", capacity_factor, non_negative(),
      "in training, an expert group keeps this times its even share of a sequence's tokens, the "
      "best scores first; every tenth sequence keeps all; 0 = nothing is dropped");
  v.field("bias_update_rate", bias_update_rate, open_or_more,
          "step of the selection bias after each optimizer step (DeepSeek-V3's gamma); -1: 0.001 "
          "with topk_method noaux_tc, otherwise 0");
  v.alias("moe_router_bias_update_rate", "bias_update_rate");
  v.alias("moe_expert_capacity_factor", "capacity_factor");
}

}  // namespace orthant
