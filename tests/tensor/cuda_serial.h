// SPDX-License-Identifier: Apache-2.0
// The executor of the host: runs the bodies of the CUDA kernels (tensor/cuda/kernels/*_body.h) with
// loops for the grid and 32 lanes for a warp, lanes and rows in either order.
//
// What differs from the device: lanes of a phase run one after the other, so a body that breaks
// rule (T2) of element.h shows as a result that changes with the order; registers, barriers and
// launches are not exercised.
#pragma once

#include <cstring>
#include <list>
#include <vector>

#include "tensor/cuda/kernels/activation_body.h"
#include "tensor/cuda/kernels/attention_body.h"
#include "tensor/cuda/kernels/column_scale_body.h"
#include "tensor/cuda/kernels/cross_entropy_body.h"
#include "tensor/cuda/kernels/dequantize_body.h"
#include "tensor/cuda/kernels/divergence_body.h"
#include "tensor/cuda/kernels/drop_tokens_body.h"
#include "tensor/cuda/kernels/element.h"
#include "tensor/cuda/kernels/elementwise_body.h"
#include "tensor/cuda/kernels/embedding_body.h"
#include "tensor/cuda/kernels/launch.h"
#include "tensor/cuda/kernels/norm_body.h"
#include "tensor/cuda/kernels/optimizer_body.h"
#include "tensor/cuda/kernels/routed_rows_body.h"
#include "tensor/cuda/kernels/router_body.h"

namespace orthant::testing {

namespace kernels = cuda::kernels;

// Whether rows, elements and lanes run from last to first.
inline bool serial_reverse = false;

template <class F>
void in_order(int64_t n, F f) {
  for (int64_t i = 0; i < n; ++i) f(serial_reverse ? n - 1 - i : i);
}

struct SerialTeam {
  static constexpr int64_t kLanes = kernels::kWarp;

  template <class F>
  void each(int64_t n, F f) const {
    in_order(kLanes, [&](int64_t lane) {
      for (int64_t i = lane; i < n; i += kLanes) f(i);
    });
  }
  template <class F>
  void once(F f) const {
    f();
  }
  template <class T, class F>
  T sum(int64_t n, F f) const {
    return joined<T>(
        n, T{0}, [&](T total, int64_t i) { return total + f(i); }, [](T a, T b) { return a + b; });
  }
  template <class T, class F>
  T max(int64_t n, F f) const {
    const auto larger = [](T x, T best) { return x > best ? x : best; };
    return joined<T>(
        n, static_cast<T>(-kernels::kInfinity),
        [&](T best, int64_t i) { return larger(f(i), best); },
        [&](T best, T x) { return larger(x, best); });
  }
  template <class F>
  int64_t first(int64_t n, F f) const {
    return joined<int64_t>(
        n, n, [&](int64_t best, int64_t i) { return best == n && f(i) ? i : best; },
        [](int64_t best, int64_t x) { return x < best ? x : best; });
  }

 private:
  // Lane partials, then the butterfly of WarpTeam, which must leave the same bits in all lanes.
  template <class T, class Step, class Join>
  static T joined(int64_t n, T start, Step step, Join join) {
    T lanes[kLanes], others[kLanes];
    in_order(kLanes, [&](int64_t lane) {
      lanes[lane] = start;
      for (int64_t i = lane; i < n; i += kLanes) lanes[lane] = step(lanes[lane], i);
    });
    for (int64_t mask = 16; mask > 0; mask /= 2) {
      std::memcpy(others, lanes, sizeof(lanes));
      for (int64_t lane = 0; lane < kLanes; ++lane)
        lanes[lane] = join(others[lane], others[lane ^ mask]);
    }
    for (int64_t lane = 1; lane < kLanes; ++lane)
      EXPECT_EQ(std::memcmp(lanes, lanes + lane, sizeof(T)), 0) << "lanes disagree";
    return lanes[0];
  }
};

class SerialExec {
 public:
  SerialExec(const BackendCall* call, const char* op) : call_(call), op_(op) {}

  int fail(const char* what) {
    std::snprintf(call_->error, static_cast<size_t>(call_->error_size), "%s: %s", op_, what);
    return 1;
  }
  template <class Body>
  int elements(int64_t n, Body body) {
    in_order(n, body);
    return 0;
  }
  // Scratch is as large as asked for, and starts as NaN.
  template <class Body>
  int rows(int64_t n, Body body, int64_t scratch_bytes = 0) {
    if (!kernels::scratch_fits(scratch_bytes)) return fail("the row is too wide");
    std::vector<double> space(static_cast<size_t>((scratch_bytes + 7) / 8));
    in_order(n, [&](int64_t row) {
      if (!space.empty()) std::memset(space.data(), 0xFF, space.size() * sizeof(double));
      body(SerialTeam{}, row, space.data());
    });
    return 0;
  }
  void* scratch(int64_t bytes) {
    blocks_.emplace_back(static_cast<size_t>((bytes + 7) / 8 + 1), -1.0);
    return blocks_.back().data();
  }
  template <class Predicate>
  int any(int64_t n, Predicate predicate, bool* found) {
    *found = false;
    for (int64_t i = 0; i < n; ++i) *found = *found || predicate(i);
    return 0;
  }
  int to_host(kernels::Rows<int32_t> from, int32_t* to) {
    for (int64_t i = 0; i < from.numel(); ++i) to[i] = from[i / from.cols][i % from.cols];
    return 0;
  }
  int to_device(const int32_t* from, kernels::Rows<int32_t> to) {
    for (int64_t i = 0; i < to.numel(); ++i) to[i / to.cols][i % to.cols] = from[i];
    return 0;
  }

 private:
  const BackendCall* call_;
  const char* op_;
  std::list<std::vector<double>> blocks_;
};

// The table that the plugin fills in, with loops for the device.
inline Backend serial_backend() {
  using Exec = SerialExec;
  Backend table{};
  table.embedding = kernels::embedding<Exec>;
  table.embedding_grad = kernels::embedding_grad<Exec>;
  table.scale_columns = kernels::scale_columns<Exec>;
  table.scale_columns_grad = kernels::scale_columns_grad<Exec>;
  table.rms_norm = kernels::rms_norm<Exec>;
  table.rms_norm_grad = kernels::rms_norm_grad<Exec>;
  table.rotary = kernels::rotary<Exec>;
  table.attention = kernels::attention<Exec>;
  table.attention_grad = kernels::attention_grad<Exec>;
  table.paged_attention = kernels::paged_attention<Exec>;
  table.swiglu = kernels::swiglu<Exec>;
  table.swiglu_grad = kernels::swiglu_grad<Exec>;
  table.softmax = kernels::softmax<Exec>;
  table.softmax_grad = kernels::softmax_grad<Exec>;
  table.vocab_sums = kernels::vocab_sums<Exec>;
  table.cross_entropy = kernels::cross_entropy<Exec>;
  table.divergence = kernels::divergence<Exec>;
  table.add = kernels::add<Exec>;
  table.scale = kernels::scale<Exec>;
  table.cast = kernels::cast<Exec>;
  table.fill = kernels::fill<Exec>;
  table.copy_heads = kernels::copy_heads<Exec>;
  table.dropout = kernels::dropout<Exec>;
  table.gather_rows = kernels::gather_rows<Exec>;
  table.combine = kernels::combine<Exec>;
  table.combine_grad = kernels::combine_grad<Exec>;
  table.router = kernels::router<Exec>;
  table.router_grad = kernels::router_grad<Exec>;
  table.drop_tokens = kernels::drop_tokens<Exec>;
  table.dispatch_plan = kernels::dispatch_plan<Exec>;
  table.adamw = kernels::adamw<Exec>;
  table.sgd = kernels::sgd<Exec>;
  table.sum_squares = kernels::sum_squares<Exec>;
  table.dequantize = kernels::dequantize<Exec>;
  return table;
}

}  // namespace orthant::testing
