// SPDX-License-Identifier: Apache-2.0
#include "model/rope_scaling.h"

#include <algorithm>
#include <cmath>
#include <numbers>

#include "base/problems.h"
#include "tensor/autograd/ops.h"

namespace orthant {

const EnumNames<RopeType>& rope_type_names() {
  static const EnumNames<RopeType> names = {{RopeType::kDefault, "default"},
                                            {RopeType::kLinear, "linear"},
                                            {RopeType::kLlama3, "llama3"},
                                            {RopeType::kYarn, "yarn"}};
  return names;
}

void RopeScaling::fields(FieldVisitor& v) {
  v.field("rope_type", rope_type, rope_type_names(),
          "default: none; linear: all frequencies divided by factor; llama3: the low ones, with a "
          "smooth passage; yarn: likewise, and cos and sin are scaled");
  v.field("factor", factor, RealBounds{.low = 1.0}, "how many times longer sequences become");
  v.field("original_max_position_embeddings", original_max_position_embeddings, at_least(0),
          "longest sequence before; 0 = max_position_embeddings / factor");
  v.field("low_freq_factor", low_freq_factor, positive(),
          "llama3: waves longer than original_max_position_embeddings over this are stretched");
  v.field("high_freq_factor", high_freq_factor, positive(),
          "llama3: waves shorter than original_max_position_embeddings over this stay");
  v.field("beta_fast", beta_fast, positive(),
          "yarn: dimensions that turn more often than this in the original length stay");
  v.field("beta_slow", beta_slow, positive(),
          "yarn: dimensions that turn less often than this are stretched");
  v.field("mscale", mscale, non_negative(),
          "yarn: weight of 0.1 ln factor in the scale of cos and sin; 0 = 1");
  v.field(
      "mscale_all_dim", mscale_all_dim, non_negative(),
      "yarn: the same in what that scale is divided by, and in the softmax of latent attention");
  v.field("attention_factor", attention_factor, non_negative(),
          "yarn: scale of cos and sin; 0 = by mscale and mscale_all_dim, or 0.1 ln factor + 1");
  v.field("rope_theta", rope_theta, non_negative(), "the same as model.rope_theta; 0 = that");
  v.field("partial_rotary_factor", partial_rotary_factor, unit_interval(),
          "the same as model.partial_rotary_factor; 0 = that");
  v.alias("type", "rope_type");
  v.foreign("truncate", neutral({"true"}, "bounds of yarn's dimensions are whole numbers"));
}

void RopeScaling::resolve(int64_t longest, Problems& problems) {
  if (rope_type == RopeType::kDefault) return;
  if (original_max_position_embeddings == 0)
    original_max_position_embeddings =
        std::max<int64_t>(1, std::llround(static_cast<double>(longest) / factor));
  problems.want(high_freq_factor > low_freq_factor || rope_type != RopeType::kLlama3,
                "model.rope_scaling.high_freq_factor: want more than low_freq_factor ",
                low_freq_factor, ", got ", high_freq_factor);
  problems.want(beta_fast > beta_slow || rope_type != RopeType::kYarn,
                "model.rope_scaling.beta_fast: want more than beta_slow ", beta_slow, ", got ",
                beta_fast);
}

namespace {

double llama3(double frequency, const RopeScaling& s) {
  const double turns =
      static_cast<double>(s.original_max_position_embeddings) * frequency / (2 * std::numbers::pi);
  if (turns < s.low_freq_factor) return frequency / s.factor;
  if (turns > s.high_freq_factor) return frequency;
  const double smooth = (turns - s.low_freq_factor) / (s.high_freq_factor - s.low_freq_factor);
  return (1 - smooth) * frequency / s.factor + smooth * frequency;
}

// The dimension that turns so often in the original length.
double yarn_dimension(double turns, int64_t dim, double theta, const RopeScaling& s) {
  const auto length = static_cast<double>(s.original_max_position_embeddings);
  return static_cast<double>(dim) * std::log(length / (turns * 2 * std::numbers::pi)) /
         (2 * std::log(theta));
}

void yarn(std::vector<double>& frequencies, double theta, const RopeScaling& s) {
  const int64_t dim = 2 * std::ssize(frequencies);
  const double low = std::max(0.0, std::floor(yarn_dimension(s.beta_fast, dim, theta, s)));
  double high =
      std::min(static_cast<double>(dim - 1), std::ceil(yarn_dimension(s.beta_slow, dim, theta, s)));
  if (high == low) high += 0.001;
  for (size_t i = 0; i < frequencies.size(); ++i) {
    const double ramp = std::clamp((static_cast<double>(i) - low) / (high - low), 0.0, 1.0);
    frequencies[i] = frequencies[i] / s.factor * ramp + frequencies[i] * (1 - ramp);
  }
}

double yarn_scale(double factor, double weight) {
  return factor <= 1 ? 1.0 : 0.1 * weight * std::log(factor) + 1.0;
}

}  // namespace

std::vector<double> RopeScaling::frequencies(int64_t dim, double theta) const {
  std::vector<double> result = rotary_frequencies(dim, theta);
  switch (rope_type) {
    case RopeType::kDefault:
      break;
    case RopeType::kLinear:
      for (double& frequency : result) frequency /= factor;
      break;
    case RopeType::kLlama3:
      for (double& frequency : result) frequency = llama3(frequency, *this);
      break;
    case RopeType::kYarn:
      yarn(result, theta, *this);
      break;
  }
  return result;
}

double RopeScaling::table_factor() const {
  if (rope_type != RopeType::kYarn) return 1.0;
  if (attention_factor > 0) return attention_factor;
  if (mscale > 0 && mscale_all_dim > 0)
    return yarn_scale(factor, mscale) / yarn_scale(factor, mscale_all_dim);
  return yarn_scale(factor, 1.0);
}

double RopeScaling::latent_softmax_factor() const {
  if (rope_type == RopeType::kDefault || mscale_all_dim == 0) return 1.0;
  const double scale = yarn_scale(factor, mscale_all_dim);
  return scale * scale;
}

}  // namespace orthant
