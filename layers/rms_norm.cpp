// SPDX-License-Identifier: Apache-2.0
#include "layers/rms_norm.h"

namespace orthant {

RmsNorm::RmsNorm(const LayerBuilder& build, const std::string& name, int64_t width, double eps,
                 Replicas replicas)
    : eps_(eps) {
  LogicalTensor logical = whole_tensor(name, {width}, 0, 0.0);
  logical.init_value = 1.0;
  weight_ = &build.store.add({.name = name,
                              .shape = {width},
                              .dtype = build.wide(),
                              .device = build.device,
                              .logical = {logical},
                              .replicas = replicas});
}

}  // namespace orthant
