// SPDX-License-Identifier: Apache-2.0
// The differentiable ops.  Forward and backward of an op stand together in its .cpp; shapes use the
// legend of docs/style.md.  Row dimensions may be several ([B, T, D]); the results keep them.  All
// check shapes, dtypes and devices and throw Error(kInternal) that shows the operands.
#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <string_view>
#include <vector>

#include "base/philox.h"
#include "tensor/autograd/var.h"
#include "tensor/autograd/weight.h"
#include "tensor/backend.h"

namespace orthant {

// y [N, out] = x [N, in] w^T, w [out, in].
Var linear(const Var& x, Weight& w);
// x [N, D] + b [D] in every row.
Var add_bias(const Var& x, Weight& b);
// Rows sorted by expert: y[r] = x[r] w_e^T for r in [offsets[e], offsets[e + 1]); w [E, out, in].
Var grouped_linear(const Var& x, Weight& w, std::shared_ptr<const std::vector<int64_t>> offsets);
// table [V, D] rows at ids i32 [N]; an id < 0 gives zeros.
Var embedding(const Tensor& ids, Weight& table);
// [N, A] and [N, B] side by side.
Var join_columns(const Var& a, const Var& b);
// Columns [begin, end) of x [N, A].
Var columns(const Var& x, int64_t begin, int64_t end);
// y = x / sqrt(mean(x^2) + eps) * weight; weight in wide_of(x).  Zhang and Sennrich,
// arXiv:1910.07467.
Var rms_norm(const Var& x, Weight& weight, double eps);

// RMSNorm of each of `heads` heads of `width` columns from `begin` on; weight [width].
struct HeadNorm {
  int64_t begin = 0, heads = 1, width = 0;
  Weight* weight = nullptr;
};
// x [N, D] with such columns normed, one after the other; those between and behind them copied.
Var norm_heads(const Var& x, std::span<const HeadNorm> norms, double eps);

// factor times cos and sin of position * frequency, [positions, K/2] in `dtype`.  Su et al.,
// arXiv:2104.09864.
struct RotaryTable {
  Tensor cos, sin;
};
RotaryTable make_rotary_table(int64_t positions, std::span<const double> frequencies, double factor,
                              DType dtype, Device device);
// theta^(-2i/K) for i < K/2.
std::vector<double> rotary_frequencies(int64_t dim, double theta);
// The first `heads` heads of every row of x, head_dim wide: K columns from `offset` on turned by
// the row's position (i32 [N]), pairs (i, i + K/2); the rest copied.
Var rotary(const Var& x, const Tensor& positions, const RotaryTable& table, int64_t heads,
           int64_t head_dim, int64_t offset = 0);

struct AttentionShape {
  int64_t batch = 1, heads = 1, kv_heads = 1, qk_dim = 0, v_dim = 0;
  int64_t window = 0;  // keys that a query sees at most, its own included; 0: no limit
  double scale = 1.0;

  // Where q, k and v end in the columns of a row.
  int64_t q_end() const { return heads * qk_dim; }
  int64_t k_end() const { return q_end() + kv_heads * qk_dim; }
  int64_t v_end() const { return k_end() + kv_heads * v_dim; }
  // The sizes of a call of the backend's entry; views and lengths are the caller's.
  AttentionArgs args() const;
};
// Causal attention within documents.  qkv [B*T, v_end] -> [B*T, heads*v_dim]; doc_start i32 [B*T]
// is the first position of the token's document in its row. Never materialises T x T. Dao et al.,
// arXiv:2205.14135.
Var attention(const Var& qkv, const Tensor& doc_start, const AttentionShape& shape);

// Heads of multi-head latent attention (DeepSeek-V2, arXiv:2405.04434, section 2.1): a part of
// queries and keys without positions, and a turned part, of which all keys have the same.
struct LatentHeads {
  int64_t heads = 1, nope_dim = 0, rope_dim = 0, v_dim = 0;
  int64_t qk_dim() const { return nope_dim + rope_dim; }
  int64_t kv_dim() const { return nope_dim + v_dim; }
};
// Rows as attention() wants them, with as many KV heads: q [N, H*qk_dim]; kv [N, H*kv_dim], by head
// the key's part without positions and the value; shared [N, rope_dim].
Var latent_qkv(const Var& q, const Var& kv, const Var& shared, const LatentHeads& heads);
// The keys of such rows [N, H*qk_dim] beside the values; no gradient.
Tensor latent_keys_values(const Tensor& kv, const Tensor& shared, const LatentHeads& heads);

// gate_up [N, 2F] -> silu(gate) * up [N, F].  Shazeer, arXiv:2002.05202.
Var swiglu(const Var& gate_up);
Var softmax(const Var& x);
Var add(const Var& a, const Var& b);
Var scale(const Var& x, double factor);
Var cast(const Var& x, DType dtype);
// Zeroes elements with `probability` and scales the rest; the mask is a function of (key, step,
// token, column): which token of the step a row is, and where its columns stand in a whole row.
struct DropoutRows {
  Tensor tokens;       // i64 [N]
  int64_t width = 0;   // of a whole row; 0: that of x
  int64_t column = 0;  // of x's first one
};
Var dropout(const Var& x, double probability, PhiloxKey key, uint64_t step,
            const DropoutRows& rows);

// Sum over labelled rows of -log softmax(x head^T)[label], [1] in wide_of(x).  labels i32 [N], < 0
// = not counted; row_weights f32 or f64 [N], factors of the rows' losses: 1 when not given.  Works
// in chunks of rows: [N, V] never exists.  Gradients are made chunk by chunk in forward, the head's
// added there too: backward must start at this loss, with 1.
struct HeadLoss {
  Var sum;            // of `losses`
  Tensor losses;      // f64 [N], by row
  Tensor unweighted;  // the same without row_weights: with soft targets, of the labels alone
  Tensor soft;        // f64 [N, 2], with soft targets: SoftLoss::kNumbers
};
// A head whose rows are a part of the vocabulary: ids from `first` on.
struct VocabPart {
  int64_t first = 0;
  // f64 rows of all parts [P * n, C], in order, from this part's [n, C]; not given: the head is
  // whole.  dx is then a partial sum.
  std::function<Tensor(const Tensor& rows)> gather = {};
  // The columns of all parts [n, V] from this part's.
  std::function<Tensor(const Tensor& columns)> gather_columns = {};
};
// What an adapter adds to the logits: low [N, r] b^T.
struct HeadAdapter {
  Var low = {};         // not given: nothing
  Weight* b = nullptr;  // [V, r]
};
// soft: a row's loss is then label_weight times that by its label plus the weighted divergence from
// its soft targets; rows without a label have neither (tensor/autograd/soft_loss.h).
struct SoftTargets;
HeadLoss head_loss(const Var& x, Weight& head, const Tensor& labels, const VocabPart& part = {},
                   const Tensor& row_weights = {}, const HeadAdapter& adapter = {},
                   const SoftTargets* soft = nullptr);
// The logits themselves, [N, V] in wide_of(x), with all that is added; no gradient.
Tensor head_logits(const Tensor& x, Weight& head, std::span<const HeadAdapter> adapters = {});

// Rows of x at index i32 [R]; the gradient adds in the order of row_of [N, A], the inverse (i32, -1
// = none).
Var gather_rows(const Var& x, const Tensor& index, const Tensor& row_of);
// y [N, D] = sum over slots of rows[row_of[n, a]], in slot order; owner i32 [R] is the n of each
// row.  The conjugate of gather_rows.
Var sum_rows(const Var& rows, const Tensor& row_of, const Tensor& owner);
// y [N, D] = sum over slots of weights[n, a] * rows[row_of[n, a]], in slot order, summed in
// wide_of.
Var combine(const Var& rows, const Var& weights, const Tensor& row_of);

// Sums over a sequence's valid tokens, f64; see RouterArgs (tensor/backend.h).
struct RouteSums {
  RouteSums() = default;
  // Views of `all`, which lie one after the other, so that they travel together.
  RouteSums(const Tensor& all, int64_t sequences, int64_t experts, int64_t groups, bool plain);
  static int64_t numel(int64_t sequences, int64_t experts, int64_t groups, bool plain) {
    return sequences * (experts * (plain ? 3 : 2) + groups);
  }
  RouteSums to(Device device) const;  // in one copy

  Tensor all;
  Tensor counts;        // [S, E]: tokens that chose the expert
  Tensor group_counts;  // [S, num_groups]: tokens that chose an expert of the group
  Tensor plain_counts;  // [S, E]: by raw score alone; with RouterOptions::plain_counts
  Tensor score_sums;    // [S, E]: scores, sigmoid ones divided by the token's sum
};
struct RouterOptions {
  int64_t experts_per_token = 1;
  // The rows are the micro-batch's tokens from first_row on, of `sequences` x sequence_length.
  int64_t sequence_length = 1, sequences = 0, first_row = 0;  // sequences 0: as the rows fill
  ScoreKind score = ScoreKind::kSoftmax;
  Tensor bias;  // W [E], added to the scores for the choice only; optional
  // The choice is limited to the best groups of experts; a group counts as the sum of its
  // group_best (1 or 2) best scores.
  int64_t num_groups = 1, top_groups = 1, group_best = 1;
  bool normalize = false;  // divide the chosen scores by their sum
  double scale = 1.0;
  Tensor replay;              // i32 [N, A]: choices to use instead of the best; optional
  bool plain_counts = false;  // RouteSums::plain_counts is wanted
};
// What the router chose, and the sums by which the balance losses are made.
struct Routes {
  Tensor weights;        // W [N, A]
  Tensor ids;            // i32 [N, A], -1 for padding
  Tensor chosen_scores;  // W [N, A], of ids
  Tensor scores;         // W [N, E]
  Tensor totals, lse;    // W [N]
  RouteSums sums;
};
// First step, without a gradient.  logits W [N, E], valid i32 [N].
Routes choose_experts(const Tensor& logits, const Tensor& valid, const RouterOptions& options);

// What enters at the router's gradient beside that by the weights.
struct RouterLosses {
  // Of the balance losses, by score ([S, E], f64; sigmoid ones divided by the token's sum), already
  // scaled; optional.
  Tensor score_coef;
  double z_coef = 0.0;  // of the loss by lse^2, already scaled
};
// Second step: routes.weights as a function of the logits.  All but `losses` is that of the first;
// the ids are those before any were dropped.
Var route(const Var& logits, const Tensor& valid, const Routes& routes,
          const RouterOptions& options, const RouterLosses& losses = {});

// Which assignments are kept where groups of experts have a budget, see DropTokensArgs.
struct DropOptions {
  int64_t sequence_length = 1, num_experts = 1, num_groups = 1;
  double capacity_factor = 1.0;
};
struct KeptTokens {
  Tensor ids;      // i32 [N, A], -1 where dropped
  Tensor dropped;  // f64 [S]: assignments
};
// protected_rows i32 [S]: sequences that keep all.
KeptTokens drop_tokens(const Routes& routes, const Tensor& valid, const Tensor& protected_rows,
                       const DropOptions& options);

struct DispatchPlan {
  Tensor row_of;    // i32 [N, A]: where a (token, slot) went; -1 = nowhere
  Tensor token_of;  // i32 [R]: whose row this is
  std::shared_ptr<const std::vector<int64_t>> offsets;  // [E + 1]
};
// Rows ordered by (expert, token, slot).
DispatchPlan plan_dispatch(const Tensor& ids, int64_t num_experts);

}  // namespace orthant
