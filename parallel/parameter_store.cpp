// SPDX-License-Identifier: Apache-2.0
#include "parallel/parameter_store.h"

#include "base/error.h"

namespace orthant {
namespace {

// The predicate's word on a storage: on all logical tensors in it.
bool is_meant(const Parameter& parameter,
              const std::function<bool(const std::string&)>& predicate) {
  const LogicalTensor *meant = nullptr, *other = nullptr;
  for (const LogicalTensor& logical : parameter.table())
    (predicate(logical.name) ? meant : other) = &logical;
  ORTHANT_CHECK(!meant || !other, kConfig, "freeze: ", meant->name, " is to be frozen, but not ",
                other->name, ", which is stored with it in ", parameter.name(),
                ": freeze both or neither");
  return meant != nullptr;
}

}  // namespace

ParameterUse& ParameterStore::add_use(std::string name, Parameter& parameter, bool is_tie) {
  for (const auto& use : uses_)
    ORTHANT_CHECK(use->name() != name, kInternal, "two parameters are named ", name);
  return *uses_.emplace_back(std::make_unique<ParameterUse>(std::move(name), parameter, is_tie));
}

ParameterUse& ParameterStore::add(Parameter::Options options) {
  std::string name = options.name;
  parameters_.push_back(std::make_unique<Parameter>(std::move(options)));
  return add_use(std::move(name), *parameters_.back(), /*is_tie=*/false);
}

ParameterUse& ParameterStore::tie(std::string name, Parameter& parameter) {
  return add_use(std::move(name), parameter, /*is_tie=*/true);
}

int64_t ParameterStore::numel() const {
  int64_t total = 0;
  for (const auto& parameter : parameters_) {
    if (!parameter->is_mirror()) total += parameter->numel();
  }
  return total;
}

void ParameterStore::freeze(const std::function<bool(const std::string&)>& is_frozen) {
  for (const auto& use : uses_)
    ORTHANT_CHECK(!use->has_sink(), kInternal, "freeze: the gradient buffer of ", use->name(),
                  " was made already: settle what trains before");
  for (const auto& parameter : parameters_) {
    if (is_meant(*parameter, is_frozen)) parameter->options_.trainable = false;
  }
}

void ParameterStore::initialize(uint64_t seed) {
  for (const auto& parameter : parameters_) parameter->initialize(seed);
}

}  // namespace orthant
