// SPDX-License-Identifier: Apache-2.0
// A weight as ops see it: what it lends to a product, and where its gradient goes.
//
// parallel/parameter.h implements it for training (gradients go into the current lane's buffer);
// TensorWeight is the plain one, for tests and small tools.
#pragma once

#include <functional>
#include <memory>

#include "base/function_ref.h"
#include "base/ledger.h"
#include "tensor/backend.h"
#include "tensor/tensor.h"

namespace orthant {

// A backend's prepared form of a weight; owns it.
class Prepared {
 public:
  Prepared() = default;
  // category: what the memory is for.
  Prepared(const Tensor& weight, WeightForm form,
           MemoryCategory category = MemoryCategory::kParameters);
  ~Prepared();
  Prepared(Prepared&& other) noexcept;
  Prepared& operator=(Prepared&& other) noexcept;
  const void* get() const { return handle_; }

 private:
  const Backend* backend_ = nullptr;
  void* handle_ = nullptr;
  int64_t bytes_ = 0;
  MemoryCategory category_ = MemoryCategory::kParameters;
  std::shared_ptr<Ledger> ledger_;
};

// The elements of a weight, lent to one op for as long as this lives.  It cannot be copied, so that
// no closure of the tape keeps it: closures keep the Weight and ask again.
class Operand {
 public:
  explicit Operand(Tensor view, std::shared_ptr<const Prepared> prepared = nullptr)
      : view_(std::move(view)), prepared_(std::move(prepared)) {}
  Operand(Operand&&) = default;
  Operand& operator=(Operand&&) = default;

  const Tensor& view() const { return view_; }
  const void* prepared() const { return prepared_ ? prepared_->get() : nullptr; }

 private:
  Tensor view_;
  std::shared_ptr<const Prepared> prepared_;  // null where the backend wants none
};

class Weight {
 public:
  virtual ~Weight() = default;
  // Known without its elements.
  virtual Shape shape() const = 0;
  virtual DType dtype() const = 0;
  virtual Device device() const = 0;
  virtual bool trainable() const = 0;
  // For a product, and for an op that reads elements.  May wait for what other ranks have updated.
  virtual Operand operand(WeightForm form) const = 0;
  virtual Operand elements() const = 0;
  // Calls write(buffer, accumulate) once: it writes the gradient into buffer (shape of the weight,
  // dtype wide_of(dtype)), adding to it with accumulate.  Exactly one call for a weight and
  // micro-batch: an op that runs on no rows still calls it.
  virtual void add_gradient(FunctionRef<void(const Tensor& buffer, bool accumulate)> write) = 0;
};
// Error(kInternal) that shows x and the weight, unless `fits`.
void check_weight(const char* op, bool fits, const Tensor& x, const Weight& weight);

class TensorWeight final : public Weight {
 public:
  explicit TensorWeight(Tensor value, bool trainable = true)
      : value_(std::move(value)), trainable_(trainable) {}
  Shape shape() const override { return value_.shape(); }
  DType dtype() const override { return value_.dtype(); }
  Device device() const override { return value_.device(); }
  bool trainable() const override { return trainable_; }
  Operand operand(WeightForm) const override { return elements(); }
  Operand elements() const override { return Operand(value_); }
  void add_gradient(FunctionRef<void(const Tensor&, bool)> write) override;
  const Tensor& value() const { return value_; }
  const Tensor& grad() const { return grad_; }
  void clear_grad() { grad_ = Tensor(); }

 private:
  Tensor value_, grad_;
  bool trainable_;
};

}  // namespace orthant
