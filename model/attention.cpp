// SPDX-License-Identifier: Apache-2.0
#include "model/attention.h"

#include "model/grouped_query_attention.h"
#include "model/latent_attention.h"

namespace orthant {

std::unique_ptr<Attention> make_attention(const LayerBuilder& build, const std::string& prefix,
                                          const ModelConfig& config, int64_t layer,
                                          const RotaryTable& rotary) {
  if (config.is_latent())
    return std::make_unique<LatentAttention>(build, prefix, config, layer, rotary);
  return std::make_unique<GroupedQueryAttention>(build, prefix, config, layer, rotary);
}

AttentionCounts attention_counts(const ModelConfig& config) {
  return config.is_latent() ? LatentAttention::counts(config)
                            : GroupedQueryAttention::counts(config);
}

}  // namespace orthant
