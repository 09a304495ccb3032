// SPDX-License-Identifier: Apache-2.0
// The model once more, as plainly as it can be said: one rank, scalars in double precision, loops
// over std::vector, a backward pass written by hand.  It uses nothing of Orthant, so that it can
// judge Orthant.
//
// Weights and gradients go by the logical names of a Hugging Face checkpoint.  Formulas:
// DeepSeek-V2, arXiv:2405.04434, and DeepSeek-V3, arXiv:2412.19437 (routing and balance); RMSNorm
// arXiv:1910.07467; rotary positions arXiv:2104.09864 (pairs i, i + K/2); SwiGLU arXiv:2002.05202.
#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <vector>

namespace orthant::testing {

// Row-major; a 1-D tensor is one row.
struct Matrix {
  Matrix() = default;
  Matrix(int64_t num_rows, int64_t num_cols)
      : rows(num_rows), cols(num_cols), values(static_cast<size_t>(num_rows * num_cols), 0.0) {}
  double* operator[](int64_t r) { return values.data() + r * cols; }
  const double* operator[](int64_t r) const { return values.data() + r * cols; }

  int64_t rows = 0, cols = 0;
  bool is_vector = false;  // 1-D in the model
  std::vector<double> values;
};
using Matrices = std::map<std::string, Matrix>;

struct ReferenceShape {
  int64_t vocab = 0, width = 0, layers = 0;
  int64_t heads = 0, kv_heads = 0, qk_dim = 0, v_dim = 0;
  // Latent attention (DeepSeek-V2, section 2.1): widths of the latents of keys and values, and of
  // queries (0: of the stream), and of the two parts of a head; 0: heads of their own.
  int64_t latent = 0, query_latent = 0, nope_dim = 0, rope_dim = 0;
  bool qkv_bias = false;   // of queries, keys and values
  bool head_norm = false;  // RMSNorm of each head of queries and keys
  int64_t rotary_dim = 0;  // columns of a head that are turned; 0: all
  double rope_theta = 10000.0, norm_eps = 1e-6;
  // YaRN, arXiv:2309.00071; factor 1: none.
  double yarn_factor = 1.0, yarn_length = 0, yarn_fast = 32.0, yarn_slow = 1.0;
  double yarn_mscale = 0.0, yarn_mscale_all = 0.0;
  bool tied = false;             // the head is the embedding
  std::vector<int64_t> windows;  // by layer: tokens that a token sees; 0: all before it
  // MoE layers are those from first_moe_layer on; with experts == 0 there are none.
  int64_t experts = 0, experts_per_token = 0, shared_experts = 0, first_moe_layer = 0;
  bool normalize = false;     // divide the chosen scores by their sum
  double routed_scale = 1.0;  // on the routed experts' scores
  bool sigmoid = false;       // scores, else a softmax
  bool has_bias = false;      // "gate.e_score_correction_bias" is added for the choice
  // Experts are chosen within the best groups; a group counts as the sum of its group_best best.
  int64_t groups = 1, top_groups = 1, group_best = 1;
  double capacity_factor = 0.0;  // of a group, for a row; 0: nothing is dropped
  double bias_update_rate = 0.0;
  double balance = 0.0;  // factor of the expert-level balance loss
  double device_balance = 0.0, communication_balance = 0.0, sequence_balance = 0.0;
  double z_loss = 0.0;  // factor of the mean squared logsumexp of the router's logits
  // Multi-token prediction (DeepSeek-V3, section 2.2): a layer behind the last, and the factor of
  // its loss.
  bool further = false;
  double further_weight = 0.0;
  int64_t all_layers() const { return layers + (further ? 1 : 0); }
};

// One row of tokens.  ids < 0 are padding: a zero embedding, routed nowhere.  labels < 0 do not
// count.  Token i sees tokens doc_start[i] .. i,
// or the last ones of them in a window.
struct ReferenceRow {
  std::vector<int> ids, labels, positions, doc_start;
  bool is_protected = false;  // nothing of it is dropped
};

// Expert ids of a row by layer, [tokens * experts_per_token], best first, -1 for padding; empty for
// dense layers.  Before anything is dropped.
using RowChoices = std::vector<std::vector<int>>;

struct ReferenceResult {
  double loss = 0;          // lm_loss + further_loss + balance_loss
  double lm_loss = 0;       // mean over labelled tokens
  double further_loss = 0;  // of the tokens after the next, over the same number, with its factor
  double balance_loss = 0;  // mean over rows weighted by their routed tokens, summed over layers
  int64_t labelled_tokens = 0, routed_tokens = 0;
  Matrices gradients;               // of `loss`, with every name of the weights but biases
  std::vector<RowChoices> choices;  // by row
  // By layer, empty for dense ones: tokens of the step by expert, and assignments that were
  // dropped.
  std::vector<std::vector<double>> counts;
  std::vector<double> dropped;
};

inline bool is_router_bias(const std::string& name) {
  return name.ends_with("e_score_correction_bias");
}

// Loss and gradients over all rows of a step.  With `replay` those choices are used instead of the
// best scores.
ReferenceResult run_reference(const ReferenceShape& shape, const Matrices& weights,
                              const std::vector<ReferenceRow>& rows,
                              const std::vector<RowChoices>* replay = nullptr);

// b_i += rate * sign(mean of the layer's counts - count of i), after a step.
void update_router_biases(const ReferenceShape& shape, const ReferenceResult& step,
                          Matrices& weights);

}  // namespace orthant::testing
