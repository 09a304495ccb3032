// SPDX-License-Identifier: Apache-2.0
#include "tensor/ops/call.h"

#include "base/clock.h"
#include "base/context.h"

namespace orthant::ops {
namespace {

thread_local OpObserver* op_observer = nullptr;

}  // namespace

void set_op_observer(OpObserver* observer) { op_observer = observer; }

View view_of(const Tensor& tensor) {
  View view;
  if (!tensor.defined()) return view;
  view.data = tensor.data();
  view.dtype = tensor.dtype();
  view.rank = tensor.rank();
  for (int i = 0; i < tensor.rank(); ++i) view.shape[i] = tensor.dim(i);
  view.row_stride = tensor.rank() ? tensor.dim(-1) : 1;
  return view;
}

View columns_of(const Tensor& tensor, int64_t begin, int64_t end) {
  const int64_t width = tensor.dim(-1);
  ORTHANT_CHECK(0 <= begin && begin <= end && end <= width, kInternal, "columns [", begin, ", ",
                end, ") of ", describe(tensor));
  View view;
  view.data = static_cast<char*>(tensor.data()) + begin * size_of(tensor.dtype());
  view.dtype = tensor.dtype();
  view.rank = 2;
  view.shape[0] = tensor.rows();
  view.shape[1] = end - begin;
  view.row_stride = width;
  return view;
}

void checked(Device device, const char* op, std::initializer_list<const Tensor*> operands,
             FunctionRef<int(const Backend&, const BackendCall*)> function) {
  std::array<char, 512> text{};
  const BackendCall call{.stream = nullptr,
                         .error = text.data(),
                         .error_size = text.size(),
                         .any_order = context().any_order ? 1 : 0};
  const Backend& backend = backend_on(device);
  const double begin = op_observer ? now_seconds() : 0.0;
  int status = function(backend, &call);
  // A device computes on after the call: an observed op is waited for.
  if (status == 0 && op_observer) status = backend.synchronize(&call);
  if (status == 0) {
    if (op_observer) op_observer->observe(op, operands, now_seconds() - begin);
    return;
  }
  std::string shapes;
  for (const Tensor* operand : operands)
    shapes += concat(shapes.empty() ? "" : ", ", describe(*operand));
  throw_error(ErrorKind::kInternal,
              concat(op, "(", shapes, ") on ", name_of(device), ": ", text.data()));
}

void check_same_device(const char* op, std::initializer_list<const Tensor*> tensors) {
  const Tensor* first = nullptr;
  for (const Tensor* tensor : tensors) {
    if (!tensor->defined()) continue;
    if (!first) first = tensor;
    ORTHANT_CHECK(tensor->device() == first->device(), kInternal, op,
                  ": want all operands on one device, got ", describe(*first), " and ",
                  describe(*tensor));
  }
}

void throw_shape_error(const char* op, const char* wanted, std::initializer_list<Tensor> operands) {
  std::string shapes;
  for (const Tensor& operand : operands)
    shapes += concat(shapes.empty() ? "" : ", ", describe(operand));
  throw_error(ErrorKind::kInternal, concat(op, ": want ", wanted, ", got ", shapes));
}

}  // namespace orthant::ops
