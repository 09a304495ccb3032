// SPDX-License-Identifier: Apache-2.0
#include "tensor/autograd/weight.h"

#include <utility>

#include "base/context.h"
#include "base/error.h"
#include "tensor/ops/call.h"

namespace orthant {

Prepared::Prepared(const Tensor& weight, WeightForm form, MemoryCategory category)
    : backend_(&backend_of(weight.device().type)), category_(category), ledger_(context().ledger) {
  ops::checked(weight.device(), "prepare", {&weight},
               [&](const Backend& backend, const BackendCall* call) {
                 const View view = ops::view_of(weight);
                 return backend.prepare(call, &view, form, &handle_);
               });
  if (handle_) bytes_ = backend_->prepared_bytes(handle_);
  ledger_->add(category_, bytes_);
}

Prepared::~Prepared() {
  if (!handle_) return;
  backend_->release(handle_);
  ledger_->add(category_, -bytes_);
}

Prepared::Prepared(Prepared&& other) noexcept { *this = std::move(other); }

Prepared& Prepared::operator=(Prepared&& other) noexcept {
  std::swap(backend_, other.backend_);
  std::swap(handle_, other.handle_);
  std::swap(bytes_, other.bytes_);
  std::swap(category_, other.category_);
  std::swap(ledger_, other.ledger_);
  return *this;
}

void check_weight(const char* op, bool fits, const Tensor& x, const Weight& weight) {
  ORTHANT_CHECK(fits && x.device() == weight.device(), kInternal, op,
                ": want an operand and a weight that fit, got ", describe(x), ", ",
                name_of(weight.dtype()), " ", weight.shape().text(), " on ",
                name_of(weight.device()));
}

void TensorWeight::add_gradient(FunctionRef<void(const Tensor&, bool)> write) {
  const bool accumulate = grad_.defined();
  if (!accumulate) grad_ = Tensor::empty(value_.shape(), wide_of(value_.dtype()), value_.device());
  write(grad_, accumulate);
}

}  // namespace orthant
