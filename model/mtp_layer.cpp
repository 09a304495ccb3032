// SPDX-License-Identifier: Apache-2.0
#include "model/mtp_layer.h"

namespace orthant {
namespace {

std::string prefix_of(const ModelConfig& c) {
  return concat("model.layers.", c.num_hidden_layers, ".");
}

RmsNorm norm_of(const LayerBuilder& build, const ModelConfig& c, const char* name) {
  return RmsNorm(build, prefix_of(c) + name, c.hidden_size, c.rms_norm_eps);
}

// Ranks hold it whole: what it joins is the stream.
Linear join_of(const LayerBuilder& build, const ModelConfig& c) {
  const std::string name = prefix_of(c) + "eh_proj";
  return Linear(build, name, 2 * c.hidden_size, {{name + ".weight", c.hidden_size}},
                {.dtype = build.dtype, .replicas = build.stream_replicas()});
}

}  // namespace

MtpLayer::MtpLayer(const LayerBuilder& build, const BlockOptions& options,
                   const RotaryTable& rotary, const Embedding& embedding, Parameter& head)
    : embedding_(embedding),
      embedding_norm_(norm_of(build, options.config, "enorm.weight")),
      hidden_norm_(norm_of(build, options.config, "hnorm.weight")),
      join_(join_of(build, options.config)),
      block_(build, options.config.num_hidden_layers, options, rotary),
      norm_(norm_of(build, options.config, "shared_head.norm.weight")),
      head_(build, prefix_of(options.config) + "shared_head.head", options.config.vocab_size,
            head) {}

HeadLoss MtpLayer::loss(const Var& h, Pass& pass, const Tensor& row_weights) const {
  const Var next = embedding_norm_.forward(embedding_.forward(pass.next_ids));
  const Var joined = join_.forward(join_columns(next, hidden_norm_.forward(h)));
  return head_.loss(norm_.forward(block_.forward(joined, pass)), pass.next_labels, row_weights);
}

}  // namespace orthant
