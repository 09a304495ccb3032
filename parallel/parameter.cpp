// SPDX-License-Identifier: Apache-2.0
#include "parallel/parameter.h"

#include <algorithm>

#include "base/context.h"
#include "base/error.h"

namespace orthant {
namespace {

const std::vector<LogicalTensor> kNone;

}  // namespace

Parameter::Parameter(Options options) : options_(std::move(options)) {
  const CategoryScope category(MemoryCategory::kParameters);
  value_ = Tensor::zeros(options_.shape, options_.dtype, options_.device);
  int64_t covered = 0;
  for (const LogicalTensor& t : options_.logical) covered += t.shape.numel();
  ORTHANT_CHECK(covered == value_.numel(), kInternal, "parameter ", name(),
                ": its logical tensors cover ", covered, " of ", value_.numel(), " elements");
}

const std::vector<LogicalTensor>& Parameter::logical() const {
  return is_mirror() ? kNone : options_.logical;
}

bool Parameter::decays() const {
  return !options_.logical.empty() && options_.logical.front().shape.rank() > 1;
}

Tensor Parameter::logical_part(const Tensor& storage, const LogicalTensor& t) const {
  return storage.flat(t.offset, t.offset + t.shape.numel()).view(t.shape);
}

const Tensor& Parameter::value() const {
  if (arrive_) arrive_();
  return value_;
}

Operand Parameter::operand(WeightForm form) const {
  auto& slot = prepared_[static_cast<size_t>(form)];
  if (!slot) slot = std::make_shared<Prepared>(value(), form);
  return Operand(value(), slot);
}

void Parameter::value_changed() {
  ++version_;
  for (auto& slot : prepared_) slot.reset();
}

void Parameter::move_value(const Tensor& storage, std::function<void()> arrive) {
  const Tensor moved = storage.view(shape());
  copy(value(), moved);
  value_ = moved;
  arrive_ = std::move(arrive);
}

void Parameter::write_initial_values(uint64_t seed, int64_t begin, const Tensor& part) const {
  const int64_t end = begin + part.numel();
  for (const LogicalTensor& t : options_.logical) {
    const int64_t from = std::max(begin, t.offset);
    const int64_t to = std::min(end, t.offset + t.shape.numel());
    if (from < to) fill_initial(t, from - t.offset, part.flat(from - begin, to - begin), seed);
  }
}

void Parameter::initialize(uint64_t seed) {
  write_initial_values(seed, 0, value());
  value_changed();
}

const std::vector<LogicalTensor>& ParameterUse::logical() const {
  return is_tie() ? kNone : parameter_.logical();
}

void ParameterUse::add_gradient(FunctionRef<void(const Tensor&, bool)> write) {
  ORTHANT_CHECK(sink_ != nullptr, kInternal, "parameter ", name(),
                ": a gradient arrived, but it has no gradient buffer");
  sink_->add(write);
}

}  // namespace orthant
