// SPDX-License-Identifier: Apache-2.0
#include "parallel/parameter.h"

#include <algorithm>
#include <cmath>
#include <numbers>

#include "base/context.h"
#include "base/error.h"
#include "base/parallel_for.h"
#include "base/philox.h"
#include "parallel/gradient_buffers.h"
#include "parallel/value_buckets.h"
#include "tensor/ops/elementwise.h"

namespace orthant {
namespace {

// The two normal numbers of a Box-Muller pair serve neighbouring elements.
double initial_normal(PhiloxKey key, int64_t index) {
  const Philox4 bits = philox(key, 0, static_cast<uint64_t>(index / 2));
  const double radius = std::sqrt(-2.0 * std::log(uniform_from(bits.x[0])));
  const double angle = 2.0 * std::numbers::pi * uniform_from(bits.x[1]);
  return radius * (index % 2 == 0 ? std::cos(angle) : std::sin(angle));
}

// Index in the whole tensor of the i-th element of the rectangle.
int64_t global_index(const LogicalTensor& t, int64_t i) {
  int64_t index = 0, stride = 1;
  for (int d = t.shape.rank() - 1; d >= 0; --d) {
    index += (t.begin[static_cast<size_t>(d)] + i % t.shape[d]) * stride;
    stride *= t.global_shape[d];
    i /= t.shape[d];
  }
  return index;
}

// Elements [first, first + part.numel()) of the rectangle.
void fill_initial(const LogicalTensor& t, int64_t first, const Tensor& part, uint64_t seed) {
  if (t.init_std == 0.0) {
    ops::fill(part, t.init_value);
    return;
  }
  if (part.device().is_meta()) return;
  const PhiloxKey key = make_key(seed, RandomPurpose::kInit, t.name);
  const Tensor host = Tensor::empty(part.shape(), DType::kF64);
  double* values = host.as<double>();
  const bool whole = t.is_whole();
  parallel_for(part.numel(), 4096, [&](int64_t begin, int64_t end) {
    for (int64_t i = begin; i < end; ++i) {
      const int64_t index = whole ? first + i : global_index(t, first + i);
      values[i] = t.init_std * initial_normal(key, index);
    }
  });
  copy(host, part);
}

}  // namespace

LogicalTensor whole_tensor(std::string name, const Shape& shape, int64_t offset, double init_std) {
  return {.name = std::move(name),
          .global_shape = shape,
          .begin = std::vector<int64_t>(static_cast<size_t>(shape.rank()), 0),
          .shape = shape,
          .offset = offset,
          .init_std = init_std};
}

Parameter::Parameter(Options options) : options_(std::move(options)) {
  if (tied_to()) return;
  const CategoryScope category(MemoryCategory::kParameters);
  value_ = Tensor::zeros(options_.shape, options_.dtype, options_.device);
  int64_t covered = 0;
  for (const LogicalTensor& t : options_.logical) covered += t.shape.numel();
  ORTHANT_CHECK(covered == value_.numel(), kInternal, "parameter ", name(),
                ": its logical tensors cover ", covered, " of ", value_.numel(), " elements");
}

bool Parameter::decays() const {
  return !options_.logical.empty() && options_.logical.front().shape.rank() > 1;
}

Tensor Parameter::logical_part(const Tensor& storage, const LogicalTensor& t) const {
  return storage.flat(t.offset, t.offset + t.shape.numel()).view(t.shape);
}

const std::vector<LogicalTensor>& Parameter::logical() const {
  static const std::vector<LogicalTensor> none;
  return tied_to() || is_mirror() ? none : options_.logical;
}

const Tensor& Parameter::value() const {
  if (tied_to()) return tied_to()->value();
  if (arrivals_) arrivals_->wait(bucket_);
  return value_;
}

void Parameter::move_value(const Tensor& storage, std::shared_ptr<ValueBuckets> arrivals,
                           size_t bucket) {
  const Tensor moved = storage.view(shape());
  copy(value(), moved);
  value_ = moved;
  arrivals_ = std::move(arrivals);
  bucket_ = bucket;
}

Operand Parameter::operand(WeightForm form) const {
  if (prepared_version_ != version()) {
    for (auto& slot : prepared_) slot.reset();
    prepared_version_ = version();
  }
  auto& slot = prepared_[static_cast<size_t>(form)];
  if (!slot) slot = std::make_shared<Prepared>(value(), form);
  return Operand(value(), slot);
}

void Parameter::add_gradient(FunctionRef<void(const Tensor&, bool)> write) {
  ORTHANT_CHECK(buffers_ != nullptr, kInternal, "parameter ", name(),
                ": a gradient arrived, but no step is open");
  buffers_->add(index_, write);
}

void Parameter::set_gradient_buffers(GradientBuffers* buffers, int index) {
  buffers_ = buffers;
  index_ = index;
}

void Parameter::bump_version() {
  ++version_;
  for (auto& slot : prepared_) slot.reset();
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
  bump_version();
}

Parameter& ParameterStore::add(Parameter::Options options) {
  for (const auto& parameter : parameters_) {
    ORTHANT_CHECK(parameter->name() != options.name, kInternal, "two parameters are named ",
                  options.name);
  }
  return *parameters_.emplace_back(std::make_unique<Parameter>(std::move(options)));
}

int64_t ParameterStore::numel() const {
  int64_t total = 0;
  for (const auto& parameter : parameters_) {
    if (!parameter->tied_to() && !parameter->is_mirror()) total += parameter->numel();
  }
  return total;
}

void ParameterStore::initialize(uint64_t seed) {
  for (const auto& parameter : parameters_) {
    if (!parameter->tied_to()) parameter->initialize(seed);
  }
}

}  // namespace orthant
