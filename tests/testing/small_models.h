// SPDX-License-Identifier: Apache-2.0
// Models that tests of decoding and scoring compare on: of every kind of attention, with experts.
#pragma once

#include <vector>

#include "base/philox.h"
#include "model/config.h"

namespace orthant::testing {

// longest: model.max_position_embeddings.
inline ModelConfig small_moe(int64_t longest = 96) {
  ModelConfig c{.vocab_size = 61,
                .hidden_size = 32,
                .intermediate_size = 40,
                .num_hidden_layers = 3,
                .num_attention_heads = 4,
                .num_key_value_heads = 2,
                .n_routed_experts = 4,
                .n_shared_experts = 1,
                .num_experts_per_tok = 2,
                .moe_intermediate_size = 24,
                .first_k_dense_replace = 1};
  c.resolve(longest);
  return c;
}

// Windows below and above a block of keys, and a layer without.
inline ModelConfig small_sliding(int64_t longest = 96) {
  ModelConfig c = small_moe(longest);
  c.sliding_window = 20;
  c.layer_types = {{"sliding_attention"}, {"full_attention"}, {"sliding_attention"}};
  return c;
}

// Latent attention with queries of a latent, beyond the length before YaRN.
inline ModelConfig small_latent(int64_t longest = 96) {
  ModelConfig c = small_moe(longest);
  c.num_key_value_heads = 0, c.head_dim = 0;
  c.kv_lora_rank = 24, c.q_lora_rank = 20;
  c.qk_nope_head_dim = 10, c.qk_rope_head_dim = 6, c.v_head_dim = 9;
  c.rope_scaling = {.rope_type = RopeType::kYarn,
                    .factor = 4.0,
                    .original_max_position_embeddings = 24,
                    .mscale = 0.7,
                    .mscale_all_dim = 0.7};
  c.resolve(longest);
  return c;
}

// n tokens that look like nothing, others for every seed.
inline std::vector<int32_t> small_tokens(size_t n, uint32_t seed = 1) {
  std::vector<int32_t> ids;
  for (uint64_t i = 0; i < n; ++i)
    ids.push_back(static_cast<int32_t>(philox({seed, 2}, 3, i).x[0] % 61));
  return ids;
}

}  // namespace orthant::testing
