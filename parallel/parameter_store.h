// SPDX-License-Identifier: Apache-2.0
// The parameters of a model on this rank, and what of them trains.
#pragma once

#include "parallel/parameter.h"

namespace orthant {

// Everything in one deterministic order: that of creation, which is that of forward.
class ParameterStore {
 public:
  // A parameter and its first use.  Error(kInternal) on a name used twice.
  ParameterUse& add(Parameter::Options options);
  // Another use of a parameter's value, with a gradient of its own.
  ParameterUse& tie(std::string name, Parameter& parameter);

  const std::vector<std::unique_ptr<Parameter>>& all() const { return parameters_; }
  const std::vector<std::unique_ptr<ParameterUse>>& uses() const { return uses_; }
  int64_t numel() const;  // elements on this rank, without mirrors

  // Settles what trains: parameters all of whose logical tensors are called so get no gradients,
  // buffers or optimizer state.  Before gradient buffers are made, alike on all
  // ranks.  Error(kConfig) where only a part of a storage is meant.
  void freeze(const std::function<bool(const std::string& name)>& is_frozen);
  void initialize(uint64_t seed);

 private:
  ParameterUse& add_use(std::string name, Parameter& parameter, bool is_tie);

  std::vector<std::unique_ptr<Parameter>> parameters_;
  std::vector<std::unique_ptr<ParameterUse>> uses_;
};

}  // namespace orthant
