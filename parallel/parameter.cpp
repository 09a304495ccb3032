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
  int64_t covered = 0;
  for (const LogicalTensor& t : options_.logical) covered += t.shape.numel();
  ORTHANT_CHECK(covered == numel(), kInternal, "parameter ", name(), ": its logical tensors cover ",
                covered, " of ", numel(), " elements");
  if (!is_quantized()) {
    value_ = Tensor::zeros(options_.shape, options_.dtype, options_.device);
    return;
  }
  for (const LogicalTensor& t : options_.logical)
    quantized_.emplace_back(options_.quantization, t.global_shape, t.begin, t.shape,
                            options_.device);
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
  ORTHANT_CHECK(!is_quantized(), kInternal, "parameter ", name(), " is quantised and has no value");
  if (arrive_) arrive_();
  return value_;
}

Tensor Parameter::elements() const {
  if (!is_quantized()) return value();
  const CategoryScope category(MemoryCategory::kWorkspace);
  const Tensor all = Tensor::empty(shape(), dtype(), device());
  for (size_t i = 0; i < quantized_.size(); ++i)
    quantized_[i].dequantize(logical_part(all, options_.logical[i]));
  return all;
}

void Parameter::quantize(size_t place, const Tensor& whole) const {
  const Shape& shape = options_.logical[place].global_shape;
  quantized_[place].take(
      QuantizedMatrix::of(options_.quantization, whole.to(DType::kF32).view(shape)));
}

Operand Parameter::operand(WeightForm form) const {
  if (is_quantized()) {
    // Packed in one go, which takes half of what a product takes to pack it piece by piece.
    const Tensor all = elements();
    return Operand(all, std::make_shared<Prepared>(all, form, MemoryCategory::kWorkspace));
  }
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
  if (!is_quantized()) {
    write_initial_values(seed, 0, value());
  } else if (!device().is_meta()) {
    for (size_t i = 0; i < quantized_.size(); ++i) {
      const LogicalTensor& t = options_.logical[i];
      const Tensor whole = Tensor::empty(t.global_shape, DType::kF32);
      fill_initial(whole_tensor(t.name, t.global_shape, 0, t.init_std), 0, whole, seed);
      quantize(i, whole);
    }
  }
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
