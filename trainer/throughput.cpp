// SPDX-License-Identifier: Apache-2.0
#include "trainer/throughput.h"

#include <algorithm>

#include "base/clock.h"
#include "tensor/autograd/ops.h"
#include "tensor/cpu/product_rate.h"
#include "tensor/ops/call.h"

namespace orthant {
namespace {

Tensor filled(const Shape& shape, DType dtype, Device device) {
  Tensor tensor = Tensor::empty(shape, dtype, device);
  ops::call(&Backend::fill, "fill", {&tensor}, FillArgs{.y = ops::view_of(tensor), .value = 0.5});
  return tensor;
}

class PackedWeight final : public Weight {
 public:
  explicit PackedWeight(Tensor value)
      : value_(std::move(value)),
        prepared_(std::make_shared<Prepared>(value_, WeightForm::kForward)) {}
  Shape shape() const override { return value_.shape(); }
  DType dtype() const override { return value_.dtype(); }
  Device device() const override { return value_.device(); }
  bool trainable() const override { return false; }
  Operand operand(WeightForm) const override { return Operand(value_, prepared_); }
  Operand elements() const override { return Operand(value_); }
  void add_gradient(FunctionRef<void(const Tensor&, bool)>) override {}

 private:
  Tensor value_;
  std::shared_ptr<const Prepared> prepared_;
};

// [2 width, width] times [width, width].
class DeviceProduct {
 public:
  DeviceProduct(int64_t width, DType dtype, Device device)
      : width_(width),
        x_(filled({2 * width, width}, dtype, device)),
        weight_(filled({width, width}, dtype, device)) {}

  double seconds() {
    const double begin = now_seconds();
    const Var y = linear(x_, weight_);
    ops::checked(
        y.value().device(), "synchronize", {&y.value()},
        [](const Backend& backend, const BackendCall* call) { return backend.synchronize(call); });
    return now_seconds() - begin;
  }
  double operations() const { return 4.0 * static_cast<double>(width_ * width_ * width_); }

 private:
  int64_t width_;
  Var x_;
  PackedWeight weight_;
};

double measure_device_rate(DType dtype, Device device) {
  constexpr double kBusySeconds = 0.25e-3, kSeconds = 0.03;
  constexpr int64_t kMostWidth = 4096;
  const NoGradScope no_grad;
  double best = 0;
  for (int64_t width = 512; width <= kMostWidth; width *= 2) {
    DeviceProduct product(width, dtype, device);
    product.seconds();  // the library chooses its kernel
    double shortest = product.seconds();
    const bool busy = shortest >= kBusySeconds || width == kMostWidth;
    const double begin = now_seconds();
    while (busy && now_seconds() - begin < kSeconds)
      shortest = std::min(shortest, product.seconds());
    best = std::max(best, product.operations() / shortest);
    if (busy) break;
  }
  return best;
}

}  // namespace

double measure_product_rate(DType dtype, Device device) {
  return device.is_cpu() ? cpu::measure_threads_rate(dtype) : measure_device_rate(dtype, device);
}

}  // namespace orthant
