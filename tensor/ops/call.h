// SPDX-License-Identifier: Apache-2.0
// How ops:: calls a backend: views of tensors, and errors that name op, operands, device and the
// library's word.
#pragma once

#include <array>
#include <initializer_list>

#include "base/error.h"
#include "base/function_ref.h"
#include "tensor/backend.h"
#include "tensor/tensor.h"

namespace orthant::ops {

// The whole tensor; an undefined one gives the view that is not given.
View view_of(const Tensor& tensor);
// Columns [begin, end) of the last dimension, all rows: [rows, end - begin].
View columns_of(const Tensor& tensor, int64_t begin, int64_t end);

void checked(Device device, const char* op, std::initializer_list<const Tensor*> operands,
             FunctionRef<int(const Backend&, const BackendCall*)> function);

template <class Args>
void call(int (*Backend::*entry)(const BackendCall*, const Args*), const char* op,
          std::initializer_list<const Tensor*> operands, const Args& args) {
  checked((*operands.begin())->device(), op, operands,
          [&](const Backend& backend, const BackendCall* call) {
            return (backend.*entry)(call, &args);
          });
}

// Sees every op of the calling thread when it is done, for profiles (bench/).  Null: nobody.
class OpObserver {
 public:
  virtual ~OpObserver() = default;
  virtual void observe(const char* op, std::initializer_list<const Tensor*> operands,
                       double seconds) = 0;
};
void set_op_observer(OpObserver* observer);

// Throws unless all tensors are on one device.
void check_same_device(const char* op, std::initializer_list<const Tensor*> tensors);

}  // namespace orthant::ops

// ORTHANT_OP_CHECK("rms_norm", weight.numel() == x.dim(-1), x, weight): the message shows the
// operands.
#define ORTHANT_OP_CHECK(op, condition, ...)                            \
  do {                                                                  \
    if (!(condition)) [[unlikely]]                                      \
      ::orthant::ops::throw_shape_error(op, #condition, {__VA_ARGS__}); \
  } while (false)

namespace orthant::ops {
[[noreturn]] void throw_shape_error(const char* op, const char* wanted,
                                    std::initializer_list<Tensor> operands);
}  // namespace orthant::ops
