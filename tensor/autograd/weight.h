// SPDX-License-Identifier: Apache-2.0
// A weight as ops see it: a value, the forms that products want of it, and where its gradient goes.
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
  Prepared(const Tensor& weight, WeightForm form);
  ~Prepared();
  Prepared(Prepared&& other) noexcept;
  Prepared& operator=(Prepared&& other) noexcept;
  const void* get() const { return handle_; }

 private:
  const Backend* backend_ = nullptr;
  void* handle_ = nullptr;
  int64_t bytes_ = 0;
  std::shared_ptr<Ledger> ledger_;
};

class Weight {
 public:
  virtual ~Weight() = default;
  virtual const Tensor& value() const = 0;
  virtual bool trainable() const = 0;
  // Null where the backend wants none.  Valid until the value changes.
  virtual const void* prepared(WeightForm form) const = 0;
  // Calls write(buffer, accumulate) once: it writes the gradient into buffer (shape of the value,
  // dtype wide_of(value)), adding to it with accumulate.  Exactly one call for a weight and
  // micro-batch: an op that runs on no rows still calls it.
  virtual void add_gradient(FunctionRef<void(const Tensor& buffer, bool accumulate)> write) = 0;
};

class TensorWeight final : public Weight {
 public:
  explicit TensorWeight(Tensor value, bool trainable = true)
      : value_(std::move(value)), trainable_(trainable) {}
  const Tensor& value() const override { return value_; }
  bool trainable() const override { return trainable_; }
  const void* prepared(WeightForm) const override { return nullptr; }
  void add_gradient(FunctionRef<void(const Tensor&, bool)> write) override;
  const Tensor& grad() const { return grad_; }
  void clear_grad() { grad_ = Tensor(); }

 private:
  Tensor value_, grad_;
  bool trainable_;
};

}  // namespace orthant
