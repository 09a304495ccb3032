// SPDX-License-Identifier: Apache-2.0
// The judge is judged: gradients against finite differences of its own loss, and losses that can be
// worked out by hand.
#include <gtest/gtest.h>

#include <cmath>
#include <random>

#include "tests/reference/reference_model.h"
#include "tests/reference/reference_optimizer.h"

namespace orthant::testing {
namespace {

ReferenceShape dense_shape() {
  return {.vocab = 11,
          .width = 6,
          .layers = 2,
          .heads = 4,
          .kv_heads = 2,
          .qk_dim = 4,
          .v_dim = 3,
          .rope_theta = 100.0};
}

ReferenceShape moe_shape(bool normalize) {
  ReferenceShape shape = dense_shape();
  shape.experts = 5;
  shape.experts_per_token = 2;
  shape.first_moe_layer = 1;
  shape.balance = 0.3;
  shape.z_loss = 0.1;
  shape.routed_scale = 1.7;
  shape.shared_experts = normalize ? 0 : 2;
  shape.normalize = normalize;
  shape.tied = normalize;
  return shape;
}

ReferenceShape v2_shape() {
  ReferenceShape shape = moe_shape(/*normalize=*/false);
  shape.experts = 6;
  shape.groups = 3;
  shape.top_groups = 2;
  shape.capacity_factor = 0.8;
  shape.device_balance = 0.2;
  shape.communication_balance = 0.4;
  return shape;
}

ReferenceShape v3_shape() {
  ReferenceShape shape = moe_shape(/*normalize=*/true);
  shape.experts = 6;
  shape.groups = 3;
  shape.top_groups = 2;
  shape.group_best = 2;
  shape.sigmoid = true;
  shape.has_bias = true;
  shape.sequence_balance = 0.5;
  return shape;
}

// Latents of queries, or queries of the stream; YaRN with all its factors.
ReferenceShape latent_shape(bool query_latent) {
  ReferenceShape shape = dense_shape();
  shape.kv_heads = shape.heads;
  shape.latent = 5;
  shape.query_latent = query_latent ? 7 : 0;
  shape.nope_dim = 3;
  shape.rope_dim = 4;
  shape.qk_dim = 7;
  shape.yarn_factor = 3;
  shape.yarn_length = 4;
  shape.yarn_fast = 2;
  shape.yarn_slow = 0.1;
  shape.yarn_mscale = 0.5;
  shape.yarn_mscale_all = query_latent ? 0.8 : 0.0;
  return shape;
}

ReferenceShape with_further(ReferenceShape shape) {
  shape.further = true;
  shape.further_weight = 0.4;
  return shape;
}

class Random {
 public:
  double uniform() { return static_cast<double>(bits_() >> 11) * 0x1p-53 - 0.5; }
  int below(int n) { return static_cast<int>(bits_() % static_cast<uint64_t>(n)); }

 private:
  std::mt19937_64 bits_{1};
};

Matrices random_weights(const ReferenceShape& s, Random& random) {
  Matrices weights;
  const auto add = [&](const std::string& name, int64_t rows, int64_t cols) {
    Matrix& w = weights[name] = Matrix(rows, cols);
    for (double& value : w.values) value = random.uniform();
  };
  const auto add_norm = [&](const std::string& name, int64_t width) {
    add(name, 1, width);
    weights[name].is_vector = true;
    for (double& value : weights[name].values) value += 1.0;
  };
  const auto add_ffn = [&](const std::string& name, int64_t inner) {
    add(name + "gate_proj.weight", inner, s.width);
    add(name + "up_proj.weight", inner, s.width);
    add(name + "down_proj.weight", s.width, inner);
  };
  add("model.embed_tokens.weight", s.vocab, s.width);
  for (int64_t layer = 0; layer < s.all_layers(); ++layer) {
    const std::string name = "model.layers." + std::to_string(layer) + ".";
    if (layer == s.layers) {
      for (const char* norm : {"enorm", "hnorm", "shared_head.norm"})
        add_norm(name + norm + ".weight", s.width);
      add(name + "eh_proj.weight", s.width, 2 * s.width);
    }
    add_norm(name + "input_layernorm.weight", s.width);
    add_norm(name + "post_attention_layernorm.weight", s.width);
    add(name + "self_attn.o_proj.weight", s.width, s.heads * s.v_dim);
    if (s.query_latent > 0) {
      add(name + "self_attn.q_a_proj.weight", s.query_latent, s.width);
      add_norm(name + "self_attn.q_a_layernorm.weight", s.query_latent);
      add(name + "self_attn.q_b_proj.weight", s.heads * s.qk_dim, s.query_latent);
    } else {
      add(name + "self_attn.q_proj.weight", s.heads * s.qk_dim, s.width);
    }
    if (s.qkv_bias) {
      for (const auto& [part, rows] : {std::pair{"q", s.heads * s.qk_dim},
                                       {"k", s.kv_heads * s.qk_dim},
                                       {"v", s.kv_heads * s.v_dim}}) {
        add(name + "self_attn." + part + "_proj.bias", 1, rows);
        weights[name + "self_attn." + part + "_proj.bias"].is_vector = true;
      }
    }
    if (s.head_norm) {
      add_norm(name + "self_attn.q_norm.weight", s.qk_dim);
      add_norm(name + "self_attn.k_norm.weight", s.qk_dim);
    }
    if (s.latent > 0) {
      add(name + "self_attn.kv_a_proj_with_mqa.weight", s.latent + s.rope_dim, s.width);
      add_norm(name + "self_attn.kv_a_layernorm.weight", s.latent);
      add(name + "self_attn.kv_b_proj.weight", s.heads * (s.nope_dim + s.v_dim), s.latent);
    } else {
      add(name + "self_attn.k_proj.weight", s.kv_heads * s.qk_dim, s.width);
      add(name + "self_attn.v_proj.weight", s.kv_heads * s.v_dim, s.width);
    }
    if (s.experts == 0 || layer < s.first_moe_layer) {
      add_ffn(name + "mlp.", 7);
      continue;
    }
    add(name + "mlp.gate.weight", s.experts, s.width);
    if (s.has_bias) add(name + "mlp.gate.e_score_correction_bias", 1, s.experts);
    for (int64_t e = 0; e < s.experts; ++e)
      add_ffn(name + "mlp.experts." + std::to_string(e) + ".", 4);
    if (s.shared_experts > 0) add_ffn(name + "mlp.shared_experts.", s.shared_experts * 4);
  }
  add_norm("model.norm.weight", s.width);
  if (!s.tied) add("lm_head.weight", s.vocab, s.width);
  return weights;
}

// Two packed documents, a prompt without labels, padding at the end, padding alone.
std::vector<ReferenceRow> random_rows(int vocab, Random& random) {
  const std::vector<int> lengths = {9, 7, 5, 0};
  constexpr int kLength = 9;
  std::vector<ReferenceRow> rows;
  for (size_t r = 0; r < lengths.size(); ++r) {
    ReferenceRow& row = rows.emplace_back();
    for (int t = 0; t < kLength; ++t) {
      const bool padding = t >= lengths[r];
      const int start = padding ? t : r == 0 && t >= 4 ? 4 : 0;
      row.ids.push_back(padding ? -1 : random.below(vocab));
      row.labels.push_back(padding || (r == 1 && t < 3) ? -1 : random.below(vocab));
      row.positions.push_back(t - start);
      row.doc_start.push_back(start);
    }
  }
  return rows;
}

double slope(const Matrix& gradient, const Matrix& direction) {
  double sum = 0;
  for (size_t i = 0; i < gradient.values.size(); ++i)
    sum += gradient.values[i] * direction.values[i];
  return sum;
}

// Every tensor by itself, along one random direction, with the experts' choices held fast: f of the
// balance loss has no gradient.
void check_gradients(const ReferenceShape& shape) {
  Random random;
  Matrices weights = random_weights(shape, random);
  const std::vector<ReferenceRow> rows = random_rows(static_cast<int>(shape.vocab), random);
  const ReferenceResult at = run_reference(shape, weights, rows);
  constexpr double kStep = 1e-5;
  for (auto& [name, w] : weights) {
    if (is_router_bias(name)) continue;
    const Matrix kept = w;
    Matrix direction = w;
    for (double& value : direction.values) value = random.uniform();
    double losses[2];
    for (int side : {0, 1}) {
      for (size_t i = 0; i < w.values.size(); ++i)
        w.values[i] = kept.values[i] + (side ? kStep : -kStep) * direction.values[i];
      losses[side] = run_reference(shape, weights, rows, &at.choices).loss;
    }
    w = kept;
    const double want = (losses[1] - losses[0]) / (2 * kStep);
    const double got = slope(at.gradients.at(name), direction);
    EXPECT_NEAR(got, want, 1e-7 * std::max(1.0, std::abs(want)) + 1e-9) << name;
    // An expert that nobody chose has no gradient; everything else has.
    if (name.find(".experts.") == std::string::npos) {
      EXPECT_GT(std::abs(want), 1e-6) << name << ": nothing to see along this direction";
    }
  }
}

TEST(ReferenceModel, DenseGradientsMatchFiniteDifferences) { check_gradients(dense_shape()); }
TEST(ReferenceModel, MoeGradientsMatchFiniteDifferences) {
  check_gradients(moe_shape(/*normalize=*/false));
}
TEST(ReferenceModel, NormalizedTiedGradientsMatchFiniteDifferences) {
  check_gradients(moe_shape(/*normalize=*/true));
}

TEST(ReferenceModel, DeepSeekV2GradientsMatchFiniteDifferences) {
  check_gradients(v2_shape());
  Random random;
  const Matrices weights = random_weights(v2_shape(), random);
  std::vector<ReferenceRow> rows = random_rows(11, random);
  EXPECT_GT(run_reference(v2_shape(), weights, rows).dropped[1], 2);
  for (ReferenceRow& row : rows) row.is_protected = true;
  EXPECT_EQ(run_reference(v2_shape(), weights, rows).dropped[1], 0);
}
TEST(ReferenceModel, BiasesNormsAndPartlyTurnedHeadsMatchFiniteDifferences) {
  ReferenceShape shape = dense_shape();
  shape.qkv_bias = shape.head_norm = true;
  shape.rotary_dim = 2;
  check_gradients(shape);
}
TEST(ReferenceModel, LatentAttentionsGradientsMatchFiniteDifferences) {
  check_gradients(latent_shape(/*query_latent=*/false));
  check_gradients(latent_shape(/*query_latent=*/true));
}
TEST(ReferenceModel, DeepSeekV3GradientsMatchFiniteDifferences) { check_gradients(v3_shape()); }
TEST(ReferenceModel, MultiTokenPredictionsGradientsMatchFiniteDifferences) {
  check_gradients(with_further(v3_shape()));
  check_gradients(with_further(latent_shape(/*query_latent=*/true)));
}

// With a head of zeros every token is equally likely; with a router of zeros P_i = 1 / E, and
// sum f_i = E, whatever is chosen; lse = log E.
TEST(ReferenceModel, LossesThatCanBeWorkedOut) {
  const ReferenceShape shape = moe_shape(/*normalize=*/false);
  Random random;
  Matrices weights = random_weights(shape, random);
  for (const char* name : {"lm_head.weight", "model.layers.1.mlp.gate.weight"})
    std::fill(weights[name].values.begin(), weights[name].values.end(), 0.0);
  const ReferenceResult result = run_reference(shape, weights, random_rows(11, random));
  EXPECT_NEAR(result.lm_loss, std::log(11.0), 1e-14);
  const double lse = std::log(5.0);
  EXPECT_NEAR(result.balance_loss, shape.balance + shape.z_loss * lse * lse, 1e-14);
  EXPECT_EQ(result.labelled_tokens, 9 + 4 + 5);
  EXPECT_EQ(result.routed_tokens, 9 + 7 + 5);
  EXPECT_EQ(result.choices[0][1][0], 0);  // ties go to the lower id
  EXPECT_EQ(result.choices[0][1][1], 1);
  EXPECT_EQ(result.choices[3][1][0], -1);  // padding goes nowhere
}

// Equal scores: the first two groups are open, and the first two experts of the first are chosen by
// all.  f = 3, 3, 0, ...; f' = 3, 0, 0; f'' = 3 / 2, 0, 0; P' = 1 / 3.
TEST(ReferenceModel, GroupLossesThatCanBeWorkedOut) {
  ReferenceShape shape = v2_shape();
  Random random;
  Matrices weights = random_weights(shape, random);
  std::fill(weights["model.layers.1.mlp.gate.weight"].values.begin(),
            weights["model.layers.1.mlp.gate.weight"].values.end(), 0.0);
  shape.z_loss = 0;
  const ReferenceResult result = run_reference(shape, weights, random_rows(11, random));
  EXPECT_NEAR(result.balance_loss,
              shape.balance + shape.device_balance + shape.communication_balance / 2, 1e-14);
  EXPECT_EQ(result.counts[1], (std::vector<double>{21, 21, 0, 0, 0, 0}));
  // Budgets ceil(0.8 * T * 2 / 3) for 9, 7 and 5 tokens: 5, 4 and 3 of 18, 14 and 10.
  EXPECT_EQ(result.dropped[1], 42 - 5 - 4 - 3);
}

TEST(ReferenceModel, BiasMovesTowardsTheLessLoaded) {
  ReferenceShape shape = v3_shape();
  shape.bias_update_rate = 0.5;
  Matrices weights = {{"model.layers.1.mlp.gate.e_score_correction_bias", Matrix(1, 6)}};
  ReferenceResult step;
  step.counts = {{}, {5, 0, 3, 3, 7, 0}};  // mean 3
  update_router_biases(shape, step, weights);
  EXPECT_EQ(weights.begin()->second.values, (std::vector<double>{-0.5, 0.5, 0, 0, -0.5, 0.5}));
}

// A token sees its own document alone, and nothing after itself.
TEST(ReferenceModel, AttentionStaysInTheDocument) {
  const ReferenceShape shape = dense_shape();
  Random random;
  const Matrices weights = random_weights(shape, random);
  std::vector<ReferenceRow> rows = {random_rows(11, random).front()};
  std::fill(rows[0].labels.begin() + 1, rows[0].labels.end(), -1);
  std::swap(rows[0].labels[0], rows[0].labels[5]);  // in the second document, which starts at 4
  rows[0].labels[5] = 3;
  const double loss = run_reference(shape, weights, rows).loss;
  const auto changed_at = [&](size_t token) {
    std::vector<ReferenceRow> other = rows;
    other[0].ids[token] = (other[0].ids[token] + 1) % 11;
    return run_reference(shape, weights, other).loss != loss;
  };
  EXPECT_FALSE(changed_at(3));
  EXPECT_TRUE(changed_at(4));
  EXPECT_TRUE(changed_at(5));
  EXPECT_FALSE(changed_at(6));
}

// The token after the next is seen by rows of its document, from two before it on.
TEST(ReferenceModel, MultiTokenPredictionStaysInTheDocument) {
  const ReferenceShape shape = with_further(dense_shape());
  Random random;
  const Matrices weights = random_weights(shape, random);
  std::vector<ReferenceRow> rows = {random_rows(11, random).front()};
  const auto further_loss = [&] { return run_reference(shape, weights, rows).further_loss; };
  std::fill(rows[0].labels.begin(), rows[0].labels.end(), -1);
  rows[0].labels[2] = rows[0].labels[3] = 1;  // of the first document, which ends at 4
  EXPECT_NE(further_loss(), 0.0);
  rows[0].labels[2] = -1, rows[0].labels[4] = 1;  // of two documents
  EXPECT_EQ(further_loss(), 0.0);
  rows[0].labels[3] = -1, rows[0].labels[5] = 1;  // of the second
  const double loss = further_loss();
  EXPECT_NE(loss, 0.0);
  const auto changed_at = [&](size_t token) {
    const int kept = rows[0].ids[token];
    rows[0].ids[token] = (kept + 1) % 11;
    const bool changed = further_loss() != loss;
    rows[0].ids[token] = kept;
    return changed;
  };
  EXPECT_FALSE(changed_at(3));
  EXPECT_TRUE(changed_at(4));
  EXPECT_TRUE(changed_at(5));
  EXPECT_FALSE(changed_at(6));
}

TEST(ReferenceOptimizer, StepsByHand) {
  Matrix w(1, 2);
  w.values = {1.0, -2.0};
  Matrix g(1, 2);
  g.values = {3.0, 4.0};
  Matrices weights = {{"w", w}};
  ReferenceOptimizer sgd{.adamw = false, .learning_rate = 0.5, .weight_decay = 0.1, .clip = 2.5};
  EXPECT_DOUBLE_EQ(update(sgd, weights, {{"w", g}}), 5.0);
  const double half = 2.5 / (5.0 + 1e-6);
  EXPECT_NEAR(weights["w"].values[0], 1.0 - 0.5 * (3.0 * half + 0.1), 1e-15);
  EXPECT_NEAR(weights["w"].values[1], -2.0 - 0.5 * (4.0 * half - 0.2), 1e-15);
  // AdamW's first step is the sign of the gradient, and a vector does not decay.
  weights = {{"w", w}};
  weights["w"].is_vector = true;
  ReferenceOptimizer adamw{.learning_rate = 0.01, .eps = 0.0, .clip = 0.0};
  update(adamw, weights, {{"w", g}});
  EXPECT_NEAR(weights["w"].values[0], 0.99, 1e-15);
  EXPECT_NEAR(weights["w"].values[1], -2.01, 1e-15);
}

}  // namespace
}  // namespace orthant::testing
