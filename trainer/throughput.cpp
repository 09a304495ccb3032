// SPDX-License-Identifier: Apache-2.0
#include "trainer/throughput.h"

#include <algorithm>

#include "base/clock.h"
#include "tensor/autograd/ops.h"

namespace orthant {

double measure_product_rate(DType dtype) {
  constexpr int64_t kRows = 1024, kWidth = 512;
  const auto filled = [&](int64_t rows) {
    std::vector<double> values(static_cast<size_t>(rows * kWidth));
    for (size_t i = 0; i < values.size(); ++i) values[i] = static_cast<double>(i % 17) - 8.0;
    return Tensor::from({rows, kWidth}, values, dtype);
  };
  const NoGradScope no_grad;
  const Var x(filled(kRows));
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
  } weight(filled(kWidth));
  double best = 0;
  const double begin = now_seconds();
  for (int i = 0; i < 50 && now_seconds() - begin < 0.02; ++i) {
    const double start = now_seconds();
    linear(x, weight);
    best = std::max(best, 2.0 * kRows * kWidth * kWidth / (now_seconds() - start));
  }
  return best;
}

}  // namespace orthant
