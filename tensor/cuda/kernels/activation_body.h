// SPDX-License-Identifier: Apache-2.0
// SwiGLU (y = silu(gate) * up), rotary position embedding, softmax over a row.
// Sources: Shazeer, arXiv:2002.05202; Su et al., "RoFormer", arXiv:2104.09864.
#pragma once

#include "tensor/cuda/kernels/element.h"

namespace orthant::cuda::kernels {

template <class M>
struct Swiglu {
  Rows<const M> x;
  Rows<M> y;
  template <class Team>
  ORTHANT_HD void operator()(Team team, int64_t row, void*) const {
    using T = Wide<M>;
    const M* gate = x[row];
    const M* up = gate + y.cols;
    M* out = y[row];
    team.each(y.cols, [&](int64_t i) {
      const T g = widen(gate[i]);
      narrow(g / (T{1} + exp_of(-g)) * widen(up[i]), out + i);
    });
  }
};

template <class M>
struct SwigluGrad {
  Rows<const M> x, dy;
  Rows<M> dx;
  template <class Team>
  ORTHANT_HD void operator()(Team team, int64_t row, void*) const {
    using T = Wide<M>;
    const int64_t n = dy.cols;
    const M* in = x[row];
    const M* slope = dy[row];
    M* out = dx[row];
    team.each(n, [&](int64_t i) {
      const T g = widen(in[i]), u = widen(in[n + i]), d = widen(slope[i]);
      const T sigmoid = T{1} / (T{1} + exp_of(-g));
      narrow(d * u * sigmoid * (T{1} + g * (T{1} - sigmoid)), out + i);
      narrow(d * g * sigmoid, out + n + i);
    });
  }
};

// Pairs (i, i + K/2) of a part of each of the first heads are turned, the rest of the row is
// copied.
template <class M>
struct Rotary {
  Rows<const M> x;
  Rows<M> y;
  const int32_t* positions;
  Rows<const Wide<M>> cos, sin;
  int64_t heads, head_dim, offset;
  bool inverse;
  template <class Team>
  ORTHANT_HD void operator()(Team team, int64_t row, void*) const {
    using T = Wide<M>;
    const M* in = x[row];
    M* out = y[row];
    const T* c = cos[positions[row]];
    const T* s = sin[positions[row]];
    const int64_t half = cos.cols, rest = head_dim - 2 * half, end = heads * head_dim;
    team.each(heads * half, [&](int64_t i) {
      const int64_t at = i / half * head_dim + offset + i % half;
      const T a = widen(in[at]), b = widen(in[at + half]);
      const T turn = inverse ? -s[i % half] : s[i % half];
      narrow(a * c[i % half] - b * turn, out + at);
      narrow(b * c[i % half] + a * turn, out + at + half);
    });
    team.each(heads * rest, [&](int64_t i) {
      const int64_t part = i % rest;
      const int64_t at = i / rest * head_dim + (part < offset ? part : part + 2 * half);
      out[at] = in[at];
    });
    team.each(x.cols - end, [&](int64_t i) { out[end + i] = in[end + i]; });
  }
};

// y = softmax(x), y may be x; returns logsumexp(x).
template <class M, class Y, class Team>
ORTHANT_HD Wide<M> softmax_row(Team team, const M* x, Y* y, int64_t n) {
  using T = Wide<M>;
  const T max = team.template max<T>(n, [&](int64_t i) { return widen(x[i]); });
  const T sum = team.template sum<T>(n, [&](int64_t i) { return exp_of(widen(x[i]) - max); });
  const T factor = T{1} / sum;
  team.each(n, [&](int64_t i) { narrow(exp_of(widen(x[i]) - max) * factor, y + i); });
  return max + log_of(sum);
}

template <class M>
struct Softmax {
  Rows<const M> x;
  Rows<M> y;
  template <class Team>
  ORTHANT_HD void operator()(Team team, int64_t row, void*) const {
    softmax_row<M, M>(team, x[row], y[row], x.cols);
  }
};

// dx = y * (dy - sum(y dy))
template <class M>
struct SoftmaxGrad {
  Rows<const M> y, dy;
  Rows<M> dx;
  template <class Team>
  ORTHANT_HD void operator()(Team team, int64_t row, void*) const {
    using T = Wide<M>;
    const M* p = y[row];
    const M* d = dy[row];
    M* out = dx[row];
    const T dot =
        team.template sum<T>(y.cols, [&](int64_t i) { return widen(p[i]) * widen(d[i]); });
    team.each(y.cols, [&](int64_t i) { narrow(widen(p[i]) * (widen(d[i]) - dot), out + i); });
  }
};

template <class Exec>
int swiglu(const BackendCall* call, const SwigluArgs* args) {
  Exec exec(call, "swiglu");
  return with_dtype(exec, args->x.dtype, [&]<class M>(M) {
    const Rows<M> y = rows_of<M>(args->y);
    return exec.rows(y.rows, Swiglu<M>{rows_of<const M>(args->x), y});
  });
}
template <class Exec>
int swiglu_grad(const BackendCall* call, const SwigluGradArgs* args) {
  Exec exec(call, "swiglu_grad");
  return with_dtype(exec, args->x.dtype, [&]<class M>(M) {
    const Rows<const M> dy = rows_of<const M>(args->dy);
    return exec.rows(dy.rows, SwigluGrad<M>{rows_of<const M>(args->x), dy, rows_of<M>(args->dx)});
  });
}
template <class Exec>
int rotary(const BackendCall* call, const RotaryArgs* args) {
  Exec exec(call, "rotary");
  return with_dtype(exec, args->x.dtype, [&]<class M>(M) {
    using T = Wide<M>;
    const Rows<const M> x = rows_of<const M>(args->x);
    return exec.rows(
        x.rows, Rotary<M>{x, rows_of<M>(args->y), data_of<const int32_t>(args->positions),
                          rows_of<const T>(args->cos), rows_of<const T>(args->sin), args->heads,
                          args->head_dim, args->offset, args->inverse != 0});
  });
}
template <class Exec>
int softmax(const BackendCall* call, const SoftmaxArgs* args) {
  Exec exec(call, "softmax");
  return with_dtype(exec, args->x.dtype, [&]<class M>(M) {
    const Rows<const M> x = rows_of<const M>(args->x);
    return exec.rows(x.rows, Softmax<M>{x, rows_of<M>(args->y)});
  });
}
template <class Exec>
int softmax_grad(const BackendCall* call, const SoftmaxGradArgs* args) {
  Exec exec(call, "softmax_grad");
  return with_dtype(exec, args->y.dtype, [&]<class M>(M) {
    const Rows<const M> y = rows_of<const M>(args->y);
    return exec.rows(y.rows, SoftmaxGrad<M>{y, rows_of<const M>(args->dy), rows_of<M>(args->dx)});
  });
}

}  // namespace orthant::cuda::kernels
