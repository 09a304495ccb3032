// SPDX-License-Identifier: Apache-2.0
#include "tests/reference/reference_ops.h"

#include <algorithm>
#include <cmath>
#include <numbers>
#include <utility>

namespace orthant::testing {
namespace {

double inverse_rms(const double* x, int64_t width, double eps) {
  double squares = 0;
  for (int64_t i = 0; i < width; ++i) squares += x[i] * x[i];
  return 1.0 / std::sqrt(squares / static_cast<double>(width) + eps);
}

}  // namespace

Matrix product(const Matrix& x, const Matrix& w) {
  Matrix y(x.rows, w.rows);
  for (int64_t n = 0; n < x.rows; ++n)
    for (int64_t o = 0; o < w.rows; ++o)
      for (int64_t i = 0; i < x.cols; ++i) y[n][o] += x[n][i] * w[o][i];
  return y;
}

void product_backward(const Matrix& x, const Matrix& w, const Matrix& dy, Matrix& dx, Matrix& dw) {
  for (int64_t n = 0; n < x.rows; ++n)
    for (int64_t o = 0; o < w.rows; ++o)
      for (int64_t i = 0; i < x.cols; ++i) {
        dx[n][i] += dy[n][o] * w[o][i];
        dw[o][i] += dy[n][o] * x[n][i];
      }
}

Matrix rms_norm(const Matrix& x, const Matrix& gain, double eps) {
  Matrix y(x.rows, x.cols);
  for (int64_t n = 0; n < x.rows; ++n) {
    const double inverse = inverse_rms(x[n], x.cols, eps);
    for (int64_t i = 0; i < x.cols; ++i) y[n][i] = x[n][i] * inverse * gain[0][i];
  }
  return y;
}

void rms_norm_backward(const Matrix& x, const Matrix& gain, double eps, const Matrix& dy,
                       Matrix& dx, Matrix& dgain) {
  for (int64_t n = 0; n < x.rows; ++n) {
    const double inverse = inverse_rms(x[n], x.cols, eps);
    double along = 0;  // gradient by 1 / rms
    for (int64_t i = 0; i < x.cols; ++i) along += dy[n][i] * gain[0][i] * x[n][i];
    const double pull = along * inverse * inverse * inverse / static_cast<double>(x.cols);
    for (int64_t i = 0; i < x.cols; ++i) {
      dx[n][i] += dy[n][i] * gain[0][i] * inverse - x[n][i] * pull;
      dgain[0][i] += dy[n][i] * x[n][i] * inverse;
    }
  }
}

Rotation rotation_of(const ReferenceShape& s) {
  const int64_t dim = s.latent > 0 ? s.rope_dim : s.rotary_dim > 0 ? s.rotary_dim : s.qk_dim;
  Rotation rotation;
  for (int64_t i = 0; i < dim / 2; ++i)
    rotation.frequencies.push_back(
        std::pow(s.rope_theta, -2.0 * static_cast<double>(i) / static_cast<double>(dim)));
  if (s.yarn_factor == 1.0) return rotation;
  const auto dimension = [&](double turns) {
    return static_cast<double>(dim) * std::log(s.yarn_length / (2 * std::numbers::pi * turns)) /
           (2 * std::log(s.rope_theta));
  };
  const double low = std::max(0.0, std::floor(dimension(s.yarn_fast)));
  const double high = std::min(static_cast<double>(dim - 1), std::ceil(dimension(s.yarn_slow)));
  for (size_t i = 0; i < rotation.frequencies.size(); ++i) {
    const double ramp =
        std::clamp((static_cast<double>(i) - low) / std::max(high - low, 0.001), 0.0, 1.0);
    rotation.frequencies[i] *= ramp / s.yarn_factor + 1.0 - ramp;
  }
  const double log = 0.1 * std::log(s.yarn_factor);
  rotation.factor = s.yarn_mscale_all > 0
                        ? (log * s.yarn_mscale + 1.0) / (log * s.yarn_mscale_all + 1.0)
                        : log + 1.0;
  return rotation;
}

void turn(Matrix& x, const std::vector<int>& positions, int64_t head_dim, int64_t begin,
          const Rotation& rotation, double sign) {
  const auto half = static_cast<int64_t>(rotation.frequencies.size());
  for (int64_t n = 0; n < x.rows; ++n)
    for (int64_t head = begin; head < x.cols; head += head_dim)
      for (int64_t i = 0; i < half; ++i) {
        const double angle = sign * static_cast<double>(positions[static_cast<size_t>(n)]) *
                             rotation.frequencies[static_cast<size_t>(i)];
        double& a = x[n][head + i];
        double& b = x[n][head + half + i];
        const double turned_a = a * std::cos(angle) - b * std::sin(angle);
        const double turned_b = a * std::sin(angle) + b * std::cos(angle);
        a = rotation.factor * turned_a;
        b = rotation.factor * turned_b;
      }
}

double score_scale(const ReferenceShape& s) {
  const double scale = 1.0 / std::sqrt(static_cast<double>(s.qk_dim));
  if (s.latent == 0) return scale;
  const double stretch = 0.1 * s.yarn_mscale_all * std::log(s.yarn_factor) + 1.0;
  return scale * stretch * stretch;
}

double softmax(double* x, int64_t n) {
  const double top = *std::max_element(x, x + n);
  double sum = 0;
  for (int64_t i = 0; i < n; ++i) sum += std::exp(x[i] - top);
  for (int64_t i = 0; i < n; ++i) x[i] = std::exp(x[i] - top) / sum;
  return top + std::log(sum);
}

void attend(const ReferenceShape& s, const std::vector<int>& doc_start, int64_t window,
            Attention& a) {
  const int64_t length = a.q.rows;
  const double scale = score_scale(s);
  a.out = Matrix(length, s.heads * s.v_dim);
  for (int64_t h = 0; h < s.heads; ++h) {
    const int64_t kv = h / (s.heads / s.kv_heads);
    Matrix& probs = a.probs.emplace_back(length, length);
    for (int64_t i = 0; i < length; ++i) {
      int64_t first = doc_start[static_cast<size_t>(i)];
      if (window > 0) first = std::max(first, i - window + 1);
      for (int64_t j = first; j <= i; ++j)
        for (int64_t d = 0; d < s.qk_dim; ++d)
          probs[i][j] += a.q[i][h * s.qk_dim + d] * a.k[j][kv * s.qk_dim + d] * scale;
      softmax(probs[i] + first, i - first + 1);
      for (int64_t j = first; j <= i; ++j)
        for (int64_t d = 0; d < s.v_dim; ++d)
          a.out[i][h * s.v_dim + d] += probs[i][j] * a.v[j][kv * s.v_dim + d];
    }
  }
}

void attend_backward(const ReferenceShape& s, const Attention& a, const Matrix& dout, Matrix& dq,
                     Matrix& dk, Matrix& dv) {
  const int64_t length = a.q.rows;
  const double scale = score_scale(s);
  for (int64_t h = 0; h < s.heads; ++h) {
    const int64_t kv = h / (s.heads / s.kv_heads);
    const Matrix& probs = a.probs[static_cast<size_t>(h)];
    for (int64_t i = 0; i < length; ++i) {
      std::vector<double> dprobs(static_cast<size_t>(i + 1), 0.0);
      double mean = 0;
      for (int64_t j = 0; j <= i; ++j) {
        double& dprob = dprobs[static_cast<size_t>(j)];
        for (int64_t d = 0; d < s.v_dim; ++d) {
          dprob += dout[i][h * s.v_dim + d] * a.v[j][kv * s.v_dim + d];
          dv[j][kv * s.v_dim + d] += probs[i][j] * dout[i][h * s.v_dim + d];
        }
        mean += probs[i][j] * dprob;
      }
      for (int64_t j = 0; j <= i; ++j) {
        const double dscore = probs[i][j] * (dprobs[static_cast<size_t>(j)] - mean) * scale;
        for (int64_t d = 0; d < s.qk_dim; ++d) {
          dq[i][h * s.qk_dim + d] += dscore * a.k[j][kv * s.qk_dim + d];
          dk[j][kv * s.qk_dim + d] += dscore * a.q[i][h * s.qk_dim + d];
        }
      }
    }
  }
}

FeedForwardPass feed_forward(const FeedForwardWeights& w, Matrix x) {
  FeedForwardPass p;
  p.x = std::move(x);
  p.gate = product(p.x, w.gate);
  p.up = product(p.x, w.up);
  p.inner = Matrix(p.gate.rows, p.gate.cols);
  for (size_t i = 0; i < p.inner.values.size(); ++i) {
    const double g = p.gate.values[i];
    p.inner.values[i] = g / (1.0 + std::exp(-g)) * p.up.values[i];
  }
  p.out = product(p.inner, w.down);
  return p;
}

Matrix feed_forward_backward(const FeedForwardWeights& w, const FeedForwardPass& p,
                             const Matrix& dy) {
  Matrix dinner(p.inner.rows, p.inner.cols), dgate = dinner, dup = dinner;
  product_backward(p.inner, w.down, dy, dinner, w.ddown);
  for (size_t i = 0; i < dinner.values.size(); ++i) {
    const double g = p.gate.values[i], sigmoid = 1.0 / (1.0 + std::exp(-g));
    dup.values[i] = dinner.values[i] * g * sigmoid;
    dgate.values[i] = dinner.values[i] * p.up.values[i] * (sigmoid + g * sigmoid * (1.0 - sigmoid));
  }
  Matrix dx(p.x.rows, p.x.cols);
  product_backward(p.x, w.gate, dgate, dx, w.dgate);
  product_backward(p.x, w.up, dup, dx, w.dup);
  return dx;
}

void add_to(Matrix& into, const Matrix& x) {
  for (size_t i = 0; i < x.values.size(); ++i) into.values[i] += x.values[i];
}

}  // namespace orthant::testing
