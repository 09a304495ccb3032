// SPDX-License-Identifier: Apache-2.0
// RMSNorm with a weight in the wide type.
#pragma once

#include "layers/builder.h"

namespace orthant {

class RmsNorm {
 public:
  // Of the stream.
  RmsNorm(const LayerBuilder& build, const std::string& name, int64_t width, double eps)
      : RmsNorm(build, name, width, eps, build.stream_replicas()) {}
  RmsNorm(const LayerBuilder& build, const std::string& name, int64_t width, double eps,
          Replicas replicas);
  Weight& weight() const { return *weight_; }
  Var forward(const Var& x) const {
    return remake([this](const Var& v) { return rms_norm(v, *weight_, eps_); }, x);
  }

 private:
  ParameterUse* weight_;
  double eps_;
};

}  // namespace orthant
