// SPDX-License-Identifier: Apache-2.0
// How far a model's distribution of the next token is from a teacher's.
//
// With temperature T, z the model's logits and p the teacher's probabilities at T, the loss of a
// row is T^2 (forward KL(p | q) + reverse KL(q | p)), q = softmax(z / T): the factor keeps the
// gradient's size, T (...), whatever T is (Hinton et al., arXiv:1503.02531).
//
// Where the teacher gave its K likeliest tokens, both distributions are over K + 1 events, these
// tokens and any other one: the divergence of the coarsened distributions, which is at most that of
// the whole ones, and trains what the model gives to all others together.  Without the last event
// it is over the K tokens alone, each distribution divided by its sum over them.
#pragma once

#include <functional>

#include "tensor/autograd/ops.h"

namespace orthant {

// The logit of a token that is none of a row's, and the log of the probability of no token: not
// infinite, so that differences are numbers.
inline constexpr double kNoLogit = -1e30;

// Of all rows of a head_loss.  What is by row stands in host memory.
struct SoftTargets {
  Tensor ids;  // i32 [N, K], of the whole vocabulary, the likeliest first; not given: all tokens
  Tensor log_probs;  // f64 or f32 [N, K], or [N, K + 1] with that of all other tokens behind
  // Where ids are not given: the teacher's logits of rows [begin, end), W [n, V] on the device.
  std::function<Tensor(int64_t begin, int64_t end)> logits = {};
  double temperature = 1.0;
  double forward = 1.0, reverse = 0.0;      // of the divergences
  double weight = 1.0, label_weight = 0.0;  // of the divergence, and of the loss by labels
};

// The loss of a chunk of rows after the other.
class SoftLoss {
 public:
  // A row's: its divergence times T^2; 1 where the likeliest token is the teacher's, else 0.
  static constexpr int64_t kNumbers = 2;

  // All must outlive it.
  SoftLoss(const SoftTargets& targets, const VocabPart& part, const Tensor& labels)
      : targets_(targets), part_(part), labels_(labels) {}

  // Rows [begin, end), whose logits W [n, V of the part] are spent.  Gives numbers f64 [n,
  // kNumbers], on the host; adds to dlogits M [n, V of the part] the gradient of the weighted
  // divergence, where it is given, or with `overwrites` writes it.
  Tensor run(int64_t begin, int64_t end, const Tensor& logits, const Tensor& dlogits,
             bool overwrites) const;

 private:
  struct Chunk;
  struct Events;
  void run_whole(const Chunk& chunk, const Tensor& numbers) const;
  void run_likeliest(const Chunk& chunk, const Tensor& numbers) const;
  Events gather_events(const Chunk& chunk, const Tensor& places) const;
  Tensor divergence(const Chunk& chunk, const Tensor& x, const Tensor& y, const Tensor& dx) const;
  void add_gradient(const Chunk& chunk, const Tensor& gradient) const;

  const SoftTargets& targets_;
  const VocabPart& part_;
  const Tensor& labels_;
};

}  // namespace orthant
