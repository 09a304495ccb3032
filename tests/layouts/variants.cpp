// SPDX-License-Identifier: Apache-2.0
#include "tests/layouts/variants.h"

#include "base/error.h"
#include "tests/testing/random_batches.h"

namespace orthant::testing {
namespace {

// Norms are between 1 and 3: kClips is reached by every step, kNoClip by none.
constexpr double kClips = 0.7, kNoClip = 100.0, kClippingOff = 0.0;

struct BatchSizes {
  int64_t micro_batches, sequences, length;
};

Variant variant(const std::string& name, const ModelConfig& model, const MoeConfig& moe,
                const BatchSizes& sizes, double grad_clip) {
  Variant result{.name = name};
  RunConfig& c = result.config;
  c.run.name = name;
  c.run.seed = 7;
  c.model = model;
  // Large enough for every path to carry a signal; small enough for gradients that fp32 can hold to
  // 1e-5 (rounding all weights to fp32 alone moves them by 1e-6, at 0.3 by 7e-6).
  c.model.initializer_range = 0.12;
  c.moe = moe;
  c.batch = {.micro_batch_size = sizes.sequences,
             .global_batch_size = sizes.micro_batches * sizes.sequences,
             .sequence_length = sizes.length};
  c.data.train = {{.path = "none.txt"}};  // never opened
  c.schedule.shape = ScheduleShape::kConstant;
  c.optimizer.grad_clip = grad_clip;
  return result;
}

// DeepSeek-V3: latent attention, sigmoid scores, a bias that moves, the loss on raw scores.
Variant moe_v3(const std::string& name, int64_t mtp_layers) {
  return variant(name,
                 {.vocab_size = 61,
                  .hidden_size = 24,
                  .intermediate_size = 40,
                  .num_hidden_layers = 3,
                  .num_attention_heads = 4,
                  .v_head_dim = 7,
                  .kv_lora_rank = 11,
                  .q_lora_rank = 13,
                  .qk_nope_head_dim = 5,
                  .qk_rope_head_dim = 6,
                  .num_nextn_predict_layers = mtp_layers,
                  .n_routed_experts = 16,
                  .n_shared_experts = 1,
                  .num_experts_per_tok = 4,
                  .moe_intermediate_size = 8,
                  .first_k_dense_replace = 1,
                  .norm_topk_prob = true,
                  .routed_scaling_factor = 2.5,
                  .scoring_func = ScoreKind::kSigmoid,
                  .topk_method = TopkMethod::kNoAuxTc,
                  .n_group = 4,
                  .topk_group = 2},
                 {.balance = {.sequence = 0.05}, .bias_update_rate = 0.01},
                 {.micro_batches = 8, .sequences = 2, .length = 8}, kClips);
}

}  // namespace

const std::vector<Variant>& all_variants() {
  static const std::vector<Variant> variants = {
      variant("dense_gqa",
              {.vocab_size = 61,
               .hidden_size = 24,
               .intermediate_size = 40,
               .num_hidden_layers = 2,
               .num_attention_heads = 4,
               .num_key_value_heads = 2,
               .attention_bias = true,
               .use_qk_norm = true,
               .rotary_dim_given = 2},
              {}, {.micro_batches = 8, .sequences = 1, .length = 16}, kClippingOff),
      variant("dense_tied_deep",
              {.vocab_size = 61,
               .hidden_size = 16,
               .intermediate_size = 24,
               .num_hidden_layers = 8,
               .num_attention_heads = 2,
               .num_key_value_heads = 1,
               .head_dim = 10,
               .v_head_dim = 6,
               .rope_theta = 100.0,
               .tie_word_embeddings = true,
               .sliding_window = 3,
               .sliding_window_pattern = 3},
              {}, {.micro_batches = 16, .sequences = 1, .length = 8}, kClips),
      variant("moe",
              {.vocab_size = 61,
               .hidden_size = 24,
               .intermediate_size = 40,
               .num_hidden_layers = 3,
               .num_attention_heads = 4,
               .n_routed_experts = 8,
               .n_shared_experts = 1,
               .num_experts_per_tok = 2,
               .moe_intermediate_size = 12,
               .first_k_dense_replace = 1},
              {.balance = {.expert = 0.05}}, {.micro_batches = 8, .sequences = 2, .length = 8},
              kClips),
      variant("moe_normalized_tied",
              {.vocab_size = 61,
               .hidden_size = 16,
               .num_hidden_layers = 2,
               .num_attention_heads = 4,
               .num_key_value_heads = 2,
               .tie_word_embeddings = true,
               .n_routed_experts = 6,
               .n_shared_experts = 2,
               .num_experts_per_tok = 3,
               .moe_intermediate_size = 10,
               .norm_topk_prob = true,
               .routed_scaling_factor = 2.5},
              {.balance = {.expert = 0.1, .z_loss = 0.02}},
              {.micro_batches = 16, .sequences = 1, .length = 8}, kClips),
      variant("moe_deep",
              {.vocab_size = 61,
               .hidden_size = 16,
               .intermediate_size = 24,
               .num_hidden_layers = 8,
               .num_attention_heads = 2,
               .n_routed_experts = 4,
               .num_experts_per_tok = 1,
               .moe_intermediate_size = 8,
               .first_k_dense_replace = 2},
              {.balance = {.expert = 0.02}}, {.micro_batches = 8, .sequences = 1, .length = 16},
              kNoClip),
      // DeepSeek-V2-Lite: latent attention with queries of the stream.
      variant("moe_v2_lite",
              {.vocab_size = 61,
               .hidden_size = 24,
               .intermediate_size = 40,
               .num_hidden_layers = 3,
               .num_attention_heads = 4,
               .v_head_dim = 6,
               .kv_lora_rank = 10,
               .qk_nope_head_dim = 5,
               .qk_rope_head_dim = 4,
               .n_routed_experts = 8,
               .n_shared_experts = 2,
               .num_experts_per_tok = 2,
               .moe_intermediate_size = 10,
               .first_k_dense_replace = 1},
              {.balance = {.expert = 0.05}}, {.micro_batches = 8, .sequences = 2, .length = 8},
              kClips),
      // DeepSeek-V2: a latent of queries too, YaRN, groups of experts, all its losses, token
      // dropping.
      variant("moe_v2",
              {.vocab_size = 61,
               .hidden_size = 24,
               .intermediate_size = 40,
               .num_hidden_layers = 3,
               .num_attention_heads = 4,
               .v_head_dim = 5,
               .kv_lora_rank = 9,
               .q_lora_rank = 14,
               .qk_nope_head_dim = 6,
               .qk_rope_head_dim = 8,
               .rope_theta = 100.0,
               .rope_scaling = {.rope_type = RopeType::kYarn,
                                .factor = 4.0,
                                .original_max_position_embeddings = 8,
                                .beta_fast = 2.0,
                                .beta_slow = 0.2,
                                .mscale = 0.6,
                                .mscale_all_dim = 0.9},
               .n_routed_experts = 8,
               .n_shared_experts = 1,
               .num_experts_per_tok = 3,
               .moe_intermediate_size = 10,
               .first_k_dense_replace = 1,
               .routed_scaling_factor = 1.5,
               .topk_method = TopkMethod::kGroupLimitedGreedy,
               .n_group = 4,
               .topk_group = 2},
              {.balance = {.expert = 0.03, .device = 0.05, .communication = 0.04, .z_loss = 0.01},
               .capacity_factor = 0.9},
              {.micro_batches = 8, .sequences = 2, .length = 8}, kClips),
      moe_v3("moe_v3", /*mtp_layers=*/0),
      moe_v3("moe_v3_mtp", /*mtp_layers=*/1),
  };
  return variants;
}

const Variant& find_variant(const std::string& name) {
  for (const Variant& candidate : all_variants())
    if (candidate.name == name) return candidate;
  throw_error(ErrorKind::kInternal, "no variant is called " + name);
}

Variant wide_variant() {
  return variant("wide",
                 {.vocab_size = 307,
                  .hidden_size = 96,
                  .intermediate_size = 256,
                  .num_hidden_layers = 2,
                  .num_attention_heads = 6,
                  .num_key_value_heads = 2,
                  .n_routed_experts = 8,
                  .n_shared_experts = 1,
                  .num_experts_per_tok = 2,
                  .moe_intermediate_size = 72,
                  .first_k_dense_replace = 1},
                 {.balance = {.expert = 0.05}}, {.micro_batches = 2, .sequences = 4, .length = 96},
                 kClips);
}

Variant with_micro_batch_size(const Variant& variant, int64_t sequences) {
  Variant result = variant;
  result.name = concat(variant.name, "_by_", sequences);
  result.config.batch.micro_batch_size = sequences;
  return result;
}

Variant with_micro_batches(const Variant& variant, int64_t micro_batches) {
  Variant result = variant;
  result.name = concat(variant.name, "_", micro_batches);
  result.config.batch.global_batch_size = micro_batches * variant.config.batch.micro_batch_size;
  return result;
}

std::vector<MicroBatch> batches_of(const Variant& variant, int64_t step) {
  const BatchConfig& batch = variant.config.batch;
  return random_batches({.micro_batches = batch.micro_batches(),
                         .sequences = batch.micro_batch_size,
                         .length = batch.sequence_length,
                         .vocab = static_cast<int32_t>(variant.config.model.vocab_size)},
                        step);
}

}  // namespace orthant::testing
