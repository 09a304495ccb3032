// SPDX-License-Identifier: Apache-2.0
#include "trainer/role.h"

#include "base/error.h"
#include "trainer/training_state.h"

namespace orthant {

Role::Role(const RoleOptions& options, const RankGroups& ranks, const WeightSource& weights)
    : options_(options),
      groups_(ranks),
      pipeline_(std::make_unique<StagePipeline>(options_.stages, groups_, store_)) {
  freeze();
  pipeline_->settle_gradients();
  if (options_.training) {
    const RoleTraining& training = *options_.training;
    gradients_ = std::make_unique<GradientBuffers>(
        store_, groups_.replicas, LanePlan{},
        GradientBuffers::Options{training.zero, training.bucket_bytes});
    optimizer_ = std::make_unique<ParameterOptimizer>(training.optimizer, *gradients_,
                                                      groups_.model, pipeline_->tied_stages());
  }
  weights(*this);
  publish_weights();
}

void Role::freeze() {
  if (!options_.training) store_.freeze([](const std::string&) { return true; });
  if (options_.training && options_.training->trains)
    store_.freeze(
        [this](const std::string& logical) { return !options_.training->trains(logical); });
  for (const auto& parameter : store_.all())
    ORTHANT_CHECK(!parameter->trainable() || !parameter->is_quantized(), kConfig,
                  "quantization: ", parameter->name(), " trains, and what is quantised cannot");
}

void Role::publish_weights() {
  for (Parameter* parameter : fixed_parameters(store_)) parameter->value_changed();
  if (optimizer_) {
    optimizer_->values_from_masters();
  } else if (const auto tied = pipeline_->tied_stages()) {
    tied->share_value();
  }
}

SavedTensors Role::saved() {
  return {.tensors = [this] { return role_tensors(*this); },
          .loaded = [this] { publish_weights(); }};
}

std::string Role::prefix() const { return name().empty() ? "" : name() + "."; }

void Role::fields(FieldVisitor& v) {
  if (trains())
    v.field(prefix() + "updates", updates_, at_least(0), "optimizer steps that were not skipped");
}

}  // namespace orthant
