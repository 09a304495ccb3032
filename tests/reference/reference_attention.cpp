// SPDX-License-Identifier: Apache-2.0
#include "tests/reference/reference_attention.h"

namespace orthant::testing {
namespace {

constexpr double kLatentEps = 1e-6;

Matrix part(const Matrix& x, int64_t begin, int64_t width) {
  Matrix y(x.rows, width);
  for (int64_t n = 0; n < x.rows; ++n)
    for (int64_t i = 0; i < width; ++i) y[n][i] = x[n][begin + i];
  return y;
}

void project(const NamedWeights& w, const char* name, const Matrix& x, Matrix& y) {
  y = product(x, w.value(w.prefix + name));
}
void project_back(const NamedWeights& w, const char* name, const Matrix& x, const Matrix& dy,
                  Matrix& dx) {
  product_backward(x, w.value(w.prefix + name), dy, dx, w.gradient(w.prefix + name));
}

void add_bias(const NamedWeights& w, const char* name, Matrix& y) {
  const Matrix& bias = w.value(w.prefix + name);
  for (int64_t n = 0; n < y.rows; ++n)
    for (int64_t i = 0; i < y.cols; ++i) y[n][i] += bias[0][i];
}
void add_bias_back(const NamedWeights& w, const char* name, const Matrix& dy) {
  Matrix& dbias = w.gradient(w.prefix + name);
  for (int64_t n = 0; n < dy.rows; ++n)
    for (int64_t i = 0; i < dy.cols; ++i) dbias[0][i] += dy[n][i];
}

// Heads as rows of their own.
Matrix as_rows(const Matrix& x, int64_t width) {
  Matrix rows(x.rows * x.cols / width, width);
  rows.values = x.values;
  return rows;
}
void norm_heads(const ReferenceShape& s, const NamedWeights& w, const char* name, Matrix& x) {
  x.values = rms_norm(as_rows(x, s.qk_dim), w.value(w.prefix + name), s.norm_eps).values;
}
// d: the gradient behind the norm, then that before it.
void norm_heads_back(const ReferenceShape& s, const NamedWeights& w, const char* name,
                     const Matrix& x, Matrix& d) {
  Matrix dx = as_rows(Matrix(x.rows, x.cols), s.qk_dim);
  rms_norm_backward(as_rows(x, s.qk_dim), w.value(w.prefix + name), s.norm_eps,
                    as_rows(d, s.qk_dim), dx, w.gradient(w.prefix + name));
  d.values = dx.values;
}

}  // namespace

Matrix AttentionPass::forward(const ReferenceShape& s, const NamedWeights& w,
                              const ReferenceRow& row, int64_t window, const Matrix& x) {
  const Rotation rotation = rotation_of(s);
  x_ = x;
  if (s.latent == 0) {
    project(w, "q_proj.weight", x, a_.q);
    project(w, "k_proj.weight", x, a_.k);
    project(w, "v_proj.weight", x, a_.v);
    if (s.qkv_bias) {
      add_bias(w, "q_proj.bias", a_.q);
      add_bias(w, "k_proj.bias", a_.k);
      add_bias(w, "v_proj.bias", a_.v);
    }
    if (s.head_norm) {
      query_ = a_.q, down_ = a_.k;  // before their norms
      norm_heads(s, w, "q_norm.weight", a_.q);
      norm_heads(s, w, "k_norm.weight", a_.k);
    }
    turn(a_.q, row.positions, s.qk_dim, 0, rotation, 1.0);
    turn(a_.k, row.positions, s.qk_dim, 0, rotation, 1.0);
  } else {
    if (s.query_latent > 0) {
      project(w, "q_a_proj.weight", x, query_);
      query_normed_ = rms_norm(query_, w.value(w.prefix + "q_a_layernorm.weight"), kLatentEps);
      project(w, "q_b_proj.weight", query_normed_, a_.q);
    } else {
      project(w, "q_proj.weight", x, a_.q);
    }
    turn(a_.q, row.positions, s.qk_dim, s.nope_dim, rotation, 1.0);
    project(w, "kv_a_proj_with_mqa.weight", x, down_);
    turn(down_, row.positions, down_.cols, s.latent, rotation, 1.0);
    latent_ = part(down_, 0, s.latent);
    normed_ = rms_norm(latent_, w.value(w.prefix + "kv_a_layernorm.weight"), kLatentEps);
    project(w, "kv_b_proj.weight", normed_, kv_);
    a_.k = Matrix(x.rows, s.heads * s.qk_dim);
    a_.v = Matrix(x.rows, s.heads * s.v_dim);
    for (int64_t n = 0; n < x.rows; ++n)
      for (int64_t h = 0; h < s.heads; ++h) {
        const double* from = kv_[n] + h * (s.nope_dim + s.v_dim);
        for (int64_t i = 0; i < s.nope_dim; ++i) a_.k[n][h * s.qk_dim + i] = from[i];
        for (int64_t i = 0; i < s.rope_dim; ++i)
          a_.k[n][h * s.qk_dim + s.nope_dim + i] = down_[n][s.latent + i];
        for (int64_t i = 0; i < s.v_dim; ++i) a_.v[n][h * s.v_dim + i] = from[s.nope_dim + i];
      }
  }
  attend(s, row.doc_start, window, a_);
  Matrix y;
  project(w, "o_proj.weight", a_.out, y);
  return y;
}

Matrix AttentionPass::backward(const ReferenceShape& s, const NamedWeights& w,
                               const ReferenceRow& row, const Matrix& dy) const {
  const Rotation rotation = rotation_of(s);
  Matrix dout(a_.out.rows, a_.out.cols), dx(x_.rows, x_.cols);
  Matrix dq(a_.q.rows, a_.q.cols), dk(a_.k.rows, a_.k.cols), dv(a_.v.rows, a_.v.cols);
  project_back(w, "o_proj.weight", a_.out, dy, dout);
  attend_backward(s, a_, dout, dq, dk, dv);
  if (s.latent == 0) {
    turn(dq, row.positions, s.qk_dim, 0, rotation, -1.0);
    turn(dk, row.positions, s.qk_dim, 0, rotation, -1.0);
    if (s.head_norm) {
      norm_heads_back(s, w, "q_norm.weight", query_, dq);
      norm_heads_back(s, w, "k_norm.weight", down_, dk);
    }
    if (s.qkv_bias) {
      add_bias_back(w, "q_proj.bias", dq);
      add_bias_back(w, "k_proj.bias", dk);
      add_bias_back(w, "v_proj.bias", dv);
    }
    project_back(w, "q_proj.weight", x_, dq, dx);
    project_back(w, "k_proj.weight", x_, dk, dx);
    project_back(w, "v_proj.weight", x_, dv, dx);
    return dx;
  }
  turn(dq, row.positions, s.qk_dim, s.nope_dim, rotation, -1.0);
  if (s.query_latent > 0) {
    const std::string norm = w.prefix + "q_a_layernorm.weight";
    Matrix dnormed(query_.rows, query_.cols), dquery = dnormed;
    project_back(w, "q_b_proj.weight", query_normed_, dq, dnormed);
    rms_norm_backward(query_, w.value(norm), kLatentEps, dnormed, dquery, w.gradient(norm));
    project_back(w, "q_a_proj.weight", x_, dquery, dx);
  } else {
    project_back(w, "q_proj.weight", x_, dq, dx);
  }
  Matrix dkv(kv_.rows, kv_.cols), ddown(down_.rows, down_.cols);
  for (int64_t n = 0; n < dkv.rows; ++n)
    for (int64_t h = 0; h < s.heads; ++h) {
      double* to = dkv[n] + h * (s.nope_dim + s.v_dim);
      for (int64_t i = 0; i < s.nope_dim; ++i) to[i] = dk[n][h * s.qk_dim + i];
      for (int64_t i = 0; i < s.rope_dim; ++i)
        ddown[n][s.latent + i] += dk[n][h * s.qk_dim + s.nope_dim + i];
      for (int64_t i = 0; i < s.v_dim; ++i) to[s.nope_dim + i] = dv[n][h * s.v_dim + i];
    }
  turn(ddown, row.positions, ddown.cols, s.latent, rotation, -1.0);
  const std::string norm = w.prefix + "kv_a_layernorm.weight";
  Matrix dnormed(normed_.rows, normed_.cols), dlatent = dnormed;
  project_back(w, "kv_b_proj.weight", normed_, dkv, dnormed);
  rms_norm_backward(latent_, w.value(norm), kLatentEps, dnormed, dlatent, w.gradient(norm));
  for (int64_t n = 0; n < dlatent.rows; ++n)
    for (int64_t i = 0; i < s.latent; ++i) ddown[n][i] = dlatent[n][i];
  project_back(w, "kv_a_proj_with_mqa.weight", x_, ddown, dx);
  return dx;
}

}  // namespace orthant::testing
