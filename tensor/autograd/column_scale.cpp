// SPDX-License-Identifier: Apache-2.0
#include <algorithm>

#include "base/error.h"
#include "tensor/autograd/low_rank.h"
#include "tensor/ops/call.h"
#include "tensor/ops/elementwise.h"

namespace orthant {
namespace {

using ops::view_of;

// Calls f(group, first row, last row) for every group of rows; there is one without offsets.
template <class F>
void each_group(const RowOffsets& offsets, int64_t rows, F f) {
  if (!offsets) return f(int64_t{0}, int64_t{0}, rows);
  for (int64_t e = 0; e + 1 < std::ssize(*offsets); ++e)
    f(e, (*offsets)[static_cast<size_t>(e)], (*offsets)[static_cast<size_t>(e) + 1]);
}

// [groups, columns of x]: magnitude / norm, and 1 between.
Tensor factors_of(const std::vector<ColumnScale>& scales, int64_t groups, int64_t columns,
                  DType wide, Device device) {
  std::vector<double> factors(static_cast<size_t>(groups * columns), 1.0);
  for (const ColumnScale& scale : scales) {
    const std::vector<double> m = scale.magnitude->elements().view().to_doubles();
    const std::vector<double> norm = scale.norm.to_doubles();
    const int64_t width = std::ssize(m) / groups;
    for (size_t i = 0; i < m.size(); ++i) {
      const auto at = static_cast<int64_t>(i);
      factors[static_cast<size_t>(at / width * columns + scale.begin + at % width)] =
          norm[i] > 0 ? m[i] / norm[i] : 1.0;  // a row of zeros stays one
    }
  }
  return Tensor::from({groups, columns}, factors, wide, device);
}

// The gradients of the magnitudes out of those of the factors [groups, columns].
void give_gradients(const std::vector<ColumnScale>& scales, const Tensor& dfactors) {
  const std::vector<double> all = dfactors.to_doubles();
  const int64_t groups = dfactors.dim(0), columns = dfactors.dim(1);
  for (const ColumnScale& scale : scales) {
    if (!scale.magnitude->trainable()) continue;
    std::vector<double> own = scale.norm.to_doubles();
    const int64_t width = std::ssize(own) / groups;
    for (size_t i = 0; i < own.size(); ++i) {
      const auto at = static_cast<int64_t>(i);
      const double sum = all[static_cast<size_t>(at / width * columns + scale.begin + at % width)];
      own[i] = own[i] > 0 ? sum / own[i] : 0.0;
    }
    const Tensor gradient =
        Tensor::from(scale.norm.shape(), own, dfactors.dtype(), dfactors.device());
    scale.magnitude->add_gradient([&](const Tensor& dm, bool accumulate) {
      accumulate ? ops::accumulate(gradient.view(dm.shape()), dm)
                 : copy(gradient.view(dm.shape()), dm);
    });
  }
}

}  // namespace

Var scale_columns(const Var& x, std::vector<ColumnScale> scales, const RowOffsets& offsets) {
  const Tensor& xv = x.value();
  const int64_t groups = offsets ? std::ssize(*offsets) - 1 : 1;
  const Tensor factors = factors_of(scales, groups, xv.dim(-1), wide_of(xv.dtype()), xv.device());
  const Tensor rows = xv.view({xv.rows(), xv.dim(-1)}), y = Tensor::like(rows);
  each_group(offsets, rows.dim(0), [&](int64_t e, int64_t begin, int64_t end) {
    if (begin == end) return;
    const Tensor from = rows.slice(begin, end);
    ops::call(&Backend::scale_columns, "scale_columns", {&from, &factors},
              ScaleColumnsArgs{.x = view_of(from),
                               .factor = view_of(factors.slice(e, e + 1).view({xv.dim(-1)})),
                               .y = view_of(y.slice(begin, end))});
  });
  const bool trains = std::any_of(scales.begin(), scales.end(), [](const ColumnScale& scale) {
    return scale.magnitude->trainable();
  });
  return record(
      "scale_columns", {x}, y.view(xv.shape()),
      [=, scales = std::move(scales)](const Tensor& dy_given) -> Grads {
        const Tensor dy = dy_given.view(rows.shape()), dx = Tensor::like(dy);
        const Tensor dfactors = Tensor::zeros(factors.shape(), factors.dtype(), factors.device());
        each_group(offsets, rows.dim(0), [&](int64_t e, int64_t begin, int64_t end) {
          if (begin == end) return;
          const Tensor from = rows.slice(begin, end);
          const auto row_of = [&](const Tensor& t) {
            return view_of(t.slice(e, e + 1).view({t.dim(1)}));
          };
          ops::call(&Backend::scale_columns_grad, "scale_columns", {&from, &dy},
                    ScaleColumnsGradArgs{.x = view_of(from),
                                         .dy = view_of(dy.slice(begin, end)),
                                         .factor = row_of(factors),
                                         .dx = view_of(dx.slice(begin, end)),
                                         .dfactor = row_of(dfactors)});
        });
        if (trains) weight_grad([scales, dfactors] { give_gradients(scales, dfactors); });
        return {dx.view(dy_given.shape())};
      },
      trains);
}

}  // namespace orthant
