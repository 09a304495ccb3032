// SPDX-License-Identifier: Apache-2.0
// The parts of the reference model, forward and backward side by side.  A backward function adds to
// every gradient that it is given; one that returns a gradient returns that of its input.
#pragma once

#include "tests/reference/reference_model.h"

namespace orthant::testing {

// y = x w^T
Matrix product(const Matrix& x, const Matrix& w);
void product_backward(const Matrix& x, const Matrix& w, const Matrix& dy, Matrix& dx, Matrix& dw);

// y = x / sqrt(mean(x^2) + eps) * gain
Matrix rms_norm(const Matrix& x, const Matrix& gain, double eps);
void rms_norm_backward(const Matrix& x, const Matrix& gain, double eps, const Matrix& dy,
                       Matrix& dx, Matrix& dgain);

// Of each head of x, head_dim wide, the columns from `begin` on that have frequencies are turned by
// sign * position and multiplied by `factor`, in place; the gradient turns back.
struct Rotation {
  std::vector<double> frequencies;
  double factor = 1.0;
};
Rotation rotation_of(const ReferenceShape& shape);
void turn(Matrix& x, const std::vector<int>& positions, int64_t head_dim, int64_t begin,
          const Rotation& rotation, double sign);

// In place; returns the logsumexp.
double softmax(double* x, int64_t n);

struct Attention {
  Matrix q, k, v;             // q and k turned
  std::vector<Matrix> probs;  // by head, [T, T], 0 where a key is not seen
  Matrix out;
};
double score_scale(const ReferenceShape& shape);
// From q, k and v to probs and out.
void attend(const ReferenceShape& shape, const std::vector<int>& doc_start, int64_t window,
            Attention& attention);
void attend_backward(const ReferenceShape& shape, const Attention& attention, const Matrix& dout,
                     Matrix& dq, Matrix& dk, Matrix& dv);

// y = down(silu(gate x) * up x).
struct FeedForwardWeights {
  const Matrix &gate, &up, &down;
  Matrix &dgate, &dup, &ddown;
};
struct FeedForwardPass {
  Matrix x, gate, up, inner, out;
};
FeedForwardPass feed_forward(const FeedForwardWeights& w, Matrix x);
Matrix feed_forward_backward(const FeedForwardWeights& w, const FeedForwardPass& p,
                             const Matrix& dy);

// into += x
void add_to(Matrix& into, const Matrix& x);

}  // namespace orthant::testing
