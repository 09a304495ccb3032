// SPDX-License-Identifier: Apache-2.0
#include "layers/dora.h"

#include <cmath>

#include "tensor/autograd/products.h"
#include "tensor/ops/elementwise.h"

namespace orthant {
namespace {

ParameterUse& add_magnitudes(const LayerBuilder& build, const Parameter& base,
                             const Magnitudes::Part& part, size_t place) {
  std::vector<LogicalTensor> logical;
  const int64_t rows = part.weights.front().shape[0];
  int64_t offset = 0;
  for (const LogicalTensor& weight : part.weights) {
    LogicalTensor t = whole_tensor(module_of(weight.name) + ".lora_magnitude_vector",
                                   {weight.global_shape[0]}, offset, 0.0);
    t.begin = {weight.begin[0]};
    t.shape = {rows};
    t.init_value = 1.0;
    offset += rows;
    logical.push_back(std::move(t));
  }
  const bool grouped = base.shape().rank() == 3;
  return build.store.add({.name = concat(base.name(), ".lora_magnitude.", place),
                          .shape = grouped ? Shape{std::ssize(part.weights), rows} : Shape{rows},
                          .dtype = wide_of(base.dtype()),
                          .device = base.device(),
                          .logical = std::move(logical),
                          .replicas = part.replicas});
}

// Rows of one expert in a weight [experts, rows, columns] or [rows, columns].
Tensor rows_of(const Tensor& weight, size_t expert, int64_t begin, int64_t count) {
  const Shape& shape = weight.shape();
  const int64_t rows = shape[-2], columns = shape[-1];
  const int64_t first = static_cast<int64_t>(expert) * rows + begin;
  const int64_t experts = shape.rank() == 3 ? shape[0] : 1;
  return weight.view({experts * rows, columns}).slice(first, first + count);
}

// Of each row of w, which is written to.
std::vector<double> square_sums(const Tensor& w) {
  const int64_t rows = w.dim(0), columns = w.dim(1);
  std::vector<double> sums(static_cast<size_t>(rows), 0.0);
  if (w.numel() == 0) return sums;
  const Tensor ones = Tensor::empty({columns}, w.dtype(), w.device());
  ops::fill(ones, 1.0);
  // The norm's kernel tells 1 / sqrt(mean of squares).
  const Tensor rstd = Tensor::empty({rows}, w.dtype(), w.device());
  ops::call(&Backend::rms_norm, "row norms", {&w, &ones},
            RmsNormArgs{.x = ops::view_of(w),
                        .weight = ops::view_of(ones),
                        .y = ops::view_of(w),
                        .rstd = ops::view_of(rstd),
                        .eps = 0.0});
  const std::vector<double> values = rstd.to_doubles();
  for (size_t r = 0; r < sums.size(); ++r)
    sums[r] = static_cast<double>(columns) / (values[r] * values[r]);
  return sums;
}

}  // namespace

Magnitudes::Magnitudes(const LayerBuilder& build, const Parameter& base, std::vector<Part> parts,
                       std::function<std::vector<double>(std::span<const double>)> sum)
    : base_(base), parts_(std::move(parts)), sum_(std::move(sum)) {
  for (size_t i = 0; i < parts_.size(); ++i)
    weights_.push_back(&add_magnitudes(build, base, parts_[i], i));
}

void Magnitudes::add_square_sums(const Tensor& base, const Part& part, size_t expert,
                                 std::vector<double>& sums) const {
  const int64_t rows = part.weights.front().shape[0];
  const Tensor w = rows_of(base, expert, part.begin, rows).to(wide_of(base.dtype())).clone();
  const Tensor a = rows_of(part.a->value(), expert, part.rank_begin, part.rank);
  const Tensor b = rows_of(part.b->value(), expert, 0, rows).clone();
  if (w.numel() > 0) {
    ops::scale(b, part.scale, b);
    multiply(b, false, a, false, w, /*accumulate=*/true);
  }
  const std::vector<double> own = square_sums(w);
  sums.insert(sums.end(), own.begin(), own.end());
}

const std::vector<Tensor>& Magnitudes::norms() const {
  int64_t version = base_.version();
  for (const Part& part : parts_) version += part.a->version() + part.b->version();
  if (version == version_) return norms_;
  const Tensor base = base_.elements();
  std::vector<double> sums;
  for (const Part& part : parts_)
    for (size_t e = 0; e < part.weights.size(); ++e) add_square_sums(base, part, e, sums);
  if (sum_) sums = sum_(sums);
  norms_.clear();
  size_t at = 0;
  for (const ParameterUse* weight : weights_) {
    std::vector<double> norms(static_cast<size_t>(weight->shape().numel()));
    for (double& norm : norms) norm = std::sqrt(sums[at++]);
    norms_.push_back(Tensor::from(weight->shape(), norms, weight->dtype(), weight->device()));
  }
  version_ = version;
  return norms_;
}

Var Magnitudes::scale(const Var& y, const RowOffsets& offsets) const {
  const std::vector<Tensor>& norms = this->norms();
  std::vector<ColumnScale> scales;
  for (size_t i = 0; i < parts_.size(); ++i)
    scales.push_back({.magnitude = weights_[i], .norm = norms[i], .begin = parts_[i].begin});
  return scale_columns(y, std::move(scales), offsets);
}

void Magnitudes::set() const {
  const std::vector<Tensor>& norms = this->norms();
  for (size_t i = 0; i < weights_.size(); ++i) {
    copy(norms[i], weights_[i]->parameter().value());
    weights_[i]->parameter().value_changed();
  }
}

}  // namespace orthant
