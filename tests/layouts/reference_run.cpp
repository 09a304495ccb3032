// SPDX-License-Identifier: Apache-2.0
#include "tests/layouts/reference_run.h"

#include <map>

#include "base/error.h"
#include "moe/protected_rows.h"
#include "tests/reference/reference_optimizer.h"

namespace orthant::testing {
namespace {

ReferenceShape shape_of(const RunConfig& config) {
  const ModelConfig& m = config.model;
  const RopeScaling& rope = m.rope_scaling;
  std::vector<int64_t> windows;
  for (int64_t layer = 0; layer < m.num_all_layers(); ++layer)
    windows.push_back(m.window_of(layer));
  return {.vocab = m.vocab_size,
          .width = m.hidden_size,
          .layers = m.num_hidden_layers,
          .heads = m.num_attention_heads,
          .kv_heads = m.num_key_value_heads,
          .qk_dim = m.head_dim,
          .v_dim = m.v_head_dim,
          .latent = m.kv_lora_rank,
          .query_latent = m.q_lora_rank,
          .nope_dim = m.qk_nope_head_dim,
          .rope_dim = m.qk_rope_head_dim,
          .qkv_bias = m.attention_bias,
          .head_norm = m.use_qk_norm,
          .rotary_dim = m.rotary_dim(),
          .rope_theta = m.rope_theta,
          .norm_eps = m.rms_norm_eps,
          .yarn_factor = rope.factor,
          .yarn_length = static_cast<double>(rope.original_max_position_embeddings),
          .yarn_fast = rope.beta_fast,
          .yarn_slow = rope.beta_slow,
          .yarn_mscale = rope.mscale,
          .yarn_mscale_all = rope.mscale_all_dim,
          .tied = m.tie_word_embeddings,
          .windows = windows,
          .experts = m.n_routed_experts,
          .experts_per_token = m.num_experts_per_tok,
          .shared_experts = m.n_shared_experts,
          .first_moe_layer = m.first_k_dense_replace,
          .normalize = m.norm_topk_prob,
          .routed_scale = m.routed_scaling_factor,
          .sigmoid = m.scoring_func == ScoreKind::kSigmoid,
          .has_bias = m.topk_method == TopkMethod::kNoAuxTc,
          .groups = m.n_group,
          .top_groups = m.topk_group,
          .group_best = m.topk_method == TopkMethod::kNoAuxTc ? 2 : 1,
          .capacity_factor = config.moe.capacity_factor,
          .bias_update_rate = config.moe.bias_update_rate,
          .balance = config.moe.balance.expert,
          .device_balance = config.moe.balance.device,
          .communication_balance = config.moe.balance.communication,
          .sequence_balance = config.moe.balance.sequence,
          .z_loss = config.moe.balance.z_loss,
          .further = m.num_nextn_predict_layers > 0,
          .further_weight = m.mtp_loss_weight};
}

std::vector<ReferenceRow> rows_of(const std::vector<MicroBatch>& batches) {
  std::vector<ReferenceRow> rows;
  for (const MicroBatch& batch : batches) {
    for (int64_t s = 0; s < batch.sequences; ++s) {
      const auto part = [&](const std::vector<int32_t>& all) {
        return std::vector<int>(all.begin() + s * batch.length,
                                all.begin() + (s + 1) * batch.length);
      };
      rows.push_back(
          {.ids = part(batch.ids),
           .labels = part(batch.labels),
           .positions = part(batch.positions),
           .doc_start = part(batch.doc_start),
           .is_protected = is_protected_sample(batch.sample_ids[static_cast<size_t>(s)])});
    }
  }
  return rows;
}

NamedValues values_of(const Matrices& matrices) {
  NamedValues values;
  for (const auto& [name, matrix] : matrices) values[name] = matrix.values;
  return values;
}

ReferenceRun compute(const Variant& variant, const LayoutOptions& options) {
  const LayoutOptions one_rank{.optimizer = options.optimizer,
                               .learning_rate = options.learning_rate};
  const RunPlan plan = plan_of(variant, one_rank, 1);
  const RunConfig& config = plan.config();
  Matrices weights = matrices_of(variant, initial_weights(variant));
  ReferenceOptimizer optimizer{.adamw = config.optimizer.kind == OptimizerKind::kAdamW,
                               .learning_rate = config.optimizer.learning_rate,
                               .beta1 = config.optimizer.betas[0],
                               .beta2 = config.optimizer.betas[1],
                               .eps = config.optimizer.eps,
                               .weight_decay = config.optimizer.weight_decay,
                               .clip = config.optimizer.grad_clip};
  ReferenceRun run;
  for (int64_t step = 1; step <= options.steps; ++step) {
    const auto* replay =
        options.replay ? &(*options.replay)[static_cast<size_t>(step - 1)] : nullptr;
    ReferenceResult result =
        run_reference(shape_of(config), weights, rows_of(batches_of(variant, step)), replay);
    if (step == 1) run.gradients = values_of(result.gradients);
    run.norms.push_back(update(optimizer, weights, result.gradients));
    update_router_biases(shape_of(config), result, weights);
    run.choices.push_back(result.choices);
    if (step > 1) result.gradients.clear();
    run.steps.push_back(std::move(result));
  }
  run.weights = values_of(weights);
  if (optimizer.adamw) {
    run.m = values_of(optimizer.m);
    run.v = values_of(optimizer.v);
  }
  return run;
}

std::string text_of(const StepChoices* choices) {
  std::string text;
  if (!choices) return text;
  for (const auto& step : *choices)
    for (const RowChoices& row : step)
      for (const std::vector<int>& layer : row)
        for (const int expert : layer) text += concat(expert, " ");
  return text;
}

}  // namespace

const ReferenceRun& reference_run(const Variant& variant, const LayoutOptions& options) {
  static std::map<std::string, ReferenceRun> known;
  const std::string key = concat(variant.name, " ", options.optimizer, " ", options.learning_rate,
                                 " ", options.steps, " ", text_of(options.replay));
  const auto found = known.find(key);
  if (found != known.end()) return found->second;
  return known.emplace(key, compute(variant, options)).first->second;
}

}  // namespace orthant::testing
