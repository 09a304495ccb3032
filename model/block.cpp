// SPDX-License-Identifier: Apache-2.0
#include "model/block.h"

#include "base/error.h"

namespace orthant {
namespace {

std::string layer_prefix(int64_t index) { return concat("model.layers.", index, "."); }

MoeSizes moe_sizes(const ModelConfig& c) {
  return {.width = c.hidden_size,
          .inner = c.moe_intermediate_size,
          .experts = c.n_routed_experts,
          .experts_per_token = c.num_experts_per_tok,
          .shared_experts = c.n_shared_experts,
          .score = c.scoring_func,
          .groups = c.n_group,
          .top_groups = c.topk_group,
          .group_best = c.has_router_bias() ? 2 : 1,
          .bias = c.has_router_bias(),
          .normalize = c.norm_topk_prob,
          .scale = c.routed_scaling_factor};
}

}  // namespace

Block::Block(const LayerBuilder& build, int64_t index, const BlockOptions& options,
             const RotaryTable& rotary)
    : index_(index),
      width_(options.config.hidden_size),
      recompute_(options.recompute),
      dropout_(options.config.hidden_dropout),
      seed_(options.seed),
      adapters_(build.adapters),
      attention_norm_(build, layer_prefix(index) + "input_layernorm.weight", width_,
                      options.config.rms_norm_eps),
      ffn_norm_(build, layer_prefix(index) + "post_attention_layernorm.weight", width_,
                options.config.rms_norm_eps),
      attention_(make_attention(build, layer_prefix(index) + "self_attn.", options.config, index,
                                rotary)) {
  const std::string prefix = layer_prefix(index) + "mlp.";
  if (options.config.is_moe_layer(index)) {
    moe_.emplace(build, prefix, index, moe_sizes(options.config), options.moe);
  } else {
    dense_.emplace(build, prefix, width_, options.config.intermediate_size);
  }
}

Var Block::forward(const Var& x, Pass& pass) const {
  switch (recompute_) {
    case Recompute::kNone:
      break;
    case Recompute::kSelective: {
      const RemakeScope scope;
      return run(x, pass);
    }
    case Recompute::kFull:
      return recompute([this, &pass](const Var& v) { return run(v, pass); }, x);
  }
  return run(x, pass);
}

Var Block::run(const Var& x, Pass& pass) const {
  const AdapterScope scope(adapters_.get(), pass.adapter_rows);
  const Var attended = attention_->forward(attention_norm_.forward(x), pass);
  const Var h = add(x, drop(attended, "attention", pass));
  return add(h, drop(feed_forward(ffn_norm_.forward(h), pass.moe), "ffn", pass));
}

Var Block::decode(const Var& x, DecodeStep& step, LayerCache& cache) const {
  const Var h = add(x, attention_->decode(attention_norm_.forward(x), step, cache));
  return add(h, feed_forward(ffn_norm_.forward(h), step.moe));
}

Var Block::feed_forward(const Var& x, MoeContext& context) const {
  return moe_ ? moe_->forward(x, context) : dense_->forward(x, context.rows.num_local());
}

Var Block::drop(const Var& x, const char* site, const Pass& pass) const {
  if (dropout_ == 0.0 || pass.step == 0) return x;
  return dropout(x, dropout_, make_key(seed_, RandomPurpose::kDropout, layer_prefix(index_) + site),
                 pass.step, {.tokens = pass.stream_tokens});
}

}  // namespace orthant
