// SPDX-License-Identifier: Apache-2.0
#include "tests/reference/reference_model.h"

#include <algorithm>
#include <numeric>
#include <utility>

#include "tests/reference/reference_attention.h"
#include "tests/reference/reference_router.h"

namespace orthant::testing {
namespace {

Matrix one_row(const Matrix& x, int64_t n) {
  Matrix row(1, x.cols);
  std::copy(x[n], x[n] + x.cols, row[0]);
  return row;
}

// What a MoE layer did with a row.
struct MoePass {
  RouterPass router;
  std::vector<FeedForwardPass> runs;  // of the assignments, in order of (token, slot)
  FeedForwardPass shared;
};

struct LayerPass {
  Matrix x, normed;
  AttentionPass attention;
  Matrix h, ffn_normed;
  FeedForwardPass dense;
  MoePass moe;
};

// Forward and backward of one row of tokens.
class RowPass {
 public:
  RowPass(const ReferenceShape& shape, const Matrices& weights, const ReferenceRow& row,
          ReferenceResult& result)
      : s_(shape), weights_(weights), row_(row), result_(result) {}

  // Sums over the row: language losses over its labels, balance losses times its routed tokens.
  double lm_sum = 0, further_sum = 0, balance_sum = 0;

  RowChoices forward(const RowChoices* replay);
  // Adds the gradient of lm_factor * (lm_sum + further_weight * further_sum) + balance_factor *
  // balance_sum.
  void backward(double lm_factor, double balance_factor);

 private:
  int64_t length() const { return static_cast<int64_t>(row_.ids.size()); }
  bool is_moe(int64_t layer) const { return s_.experts > 0 && layer >= s_.first_moe_layer; }
  const Matrix& weight(const std::string& name) const { return weights_.at(name); }
  Matrix& gradient(const std::string& name) const { return result_.gradients.at(name); }
  static std::string prefix(int64_t layer) { return "model.layers." + std::to_string(layer) + "."; }
  FeedForwardWeights ffn_weights(const std::string& name) const {
    const std::string gate = name + "gate_proj.weight", up = name + "up_proj.weight",
                      down = name + "down_proj.weight";
    return {weight(gate), weight(up), weight(down), gradient(gate), gradient(up), gradient(down)};
  }
  NamedWeights attention_weights(int64_t layer) const {
    return {[this](const std::string& name) -> const Matrix& { return weight(name); },
            [this](const std::string& name) -> Matrix& { return gradient(name); },
            prefix(layer) + "self_attn."};
  }
  std::string head() const { return s_.tied ? "model.embed_tokens.weight" : "lm_head.weight"; }

  Matrix moe_forward(int64_t layer, const Matrix& x, const std::vector<int>* replay, MoePass& p);
  Matrix moe_backward(int64_t layer, const Matrix& x, const MoePass& p, const Matrix& dy,
                      double balance_factor) const;
  void count(int64_t layer, const RouterPass& router);
  Matrix embed(const std::vector<int>& ids) const;
  void embed_backward(const std::vector<int>& ids, const Matrix& dx) const;
  Matrix layer_forward(int64_t layer, const Matrix& x, const RowChoices* replay,
                       RowChoices& choices);
  // dx: by the layer's output, then by its input.
  void layer_backward(int64_t layer, double balance_factor, Matrix& dx) const;
  // The sum of the labels' losses; logits become its gradient by them.
  double loss(const std::vector<int>& labels, Matrix& logits) const;
  void further_forward(const RowChoices* replay, RowChoices& choices);
  // Adds to dh, by what comes out of the final norm.
  void further_backward(double factor, double balance_factor, Matrix& dh) const;

  const ReferenceShape& s_;
  const Matrices& weights_;
  const ReferenceRow& row_;
  ReferenceResult& result_;
  std::vector<LayerPass> layers_;
  Matrix last_, last_normed_, dlogits_;
  struct {
    std::vector<int> ids;  // the next tokens
    Matrix embedded, joined, last, last_normed, dlogits;
  } further_;
};

void RowPass::count(int64_t layer, const RouterPass& router) {
  std::vector<double>& counts = result_.counts[static_cast<size_t>(layer)];
  counts.resize(static_cast<size_t>(s_.experts), 0.0);
  for (size_t slot = 0; slot < router.chosen.size(); ++slot) {
    if (router.chosen[slot] < 0) continue;
    counts[static_cast<size_t>(router.chosen[slot])] += 1;
    result_.dropped[static_cast<size_t>(layer)] += router.kept[slot] ? 0 : 1;
  }
}

Matrix RowPass::moe_forward(int64_t layer, const Matrix& x, const std::vector<int>* replay,
                            MoePass& p) {
  const std::string name = prefix(layer) + "mlp.";
  const std::vector<double> bias =
      s_.has_bias ? weight(name + "gate.e_score_correction_bias").values : std::vector<double>();
  p.router = route_row(s_, product(x, weight(name + "gate.weight")), bias, row_, replay);
  balance_sum += p.router.balance;
  count(layer, p.router);
  const std::vector<int>& chosen = p.router.chosen;
  Matrix y(x.rows, x.cols);
  for (size_t slot = 0; slot < chosen.size(); ++slot) {
    const int64_t n = static_cast<int64_t>(slot) / s_.experts_per_token;
    FeedForwardPass& run = p.runs.emplace_back();
    if (chosen[slot] < 0 || !p.router.kept[slot]) continue;
    run = feed_forward(ffn_weights(name + "experts." + std::to_string(chosen[slot]) + "."),
                       one_row(x, n));
    for (int64_t i = 0; i < x.cols; ++i) y[n][i] += p.router.gates[slot] * run.out[0][i];
  }
  if (s_.shared_experts > 0) {
    p.shared = feed_forward(ffn_weights(name + "shared_experts."), x);
    add_to(y, p.shared.out);
  }
  return y;
}

Matrix RowPass::moe_backward(int64_t layer, const Matrix& x, const MoePass& p, const Matrix& dy,
                             double balance_factor) const {
  const std::string name = prefix(layer) + "mlp.";
  Matrix dx(x.rows, x.cols);
  const std::vector<int>& chosen = p.router.chosen;
  std::vector<double> dgates(chosen.size(), 0.0);
  for (size_t slot = 0; slot < chosen.size(); ++slot) {
    if (chosen[slot] < 0 || !p.router.kept[slot]) continue;
    const int64_t n = static_cast<int64_t>(slot) / s_.experts_per_token;
    const FeedForwardPass& run = p.runs[slot];
    Matrix drow(1, x.cols);
    for (int64_t i = 0; i < x.cols; ++i) {
      dgates[slot] += dy[n][i] * run.out[0][i];
      drow[0][i] = p.router.gates[slot] * dy[n][i];
    }
    const Matrix back = feed_forward_backward(
        ffn_weights(name + "experts." + std::to_string(chosen[slot]) + "."), run, drow);
    for (int64_t i = 0; i < x.cols; ++i) dx[n][i] += back[0][i];
  }
  if (s_.shared_experts > 0)
    add_to(dx, feed_forward_backward(ffn_weights(name + "shared_experts."), p.shared, dy));
  product_backward(x, weight(name + "gate.weight"),
                   router_backward(s_, p.router, dgates, balance_factor), dx,
                   gradient(name + "gate.weight"));
  return dx;
}

Matrix RowPass::embed(const std::vector<int>& ids) const {
  Matrix x(length(), s_.width);
  for (int64_t n = 0; n < length(); ++n) {
    const int id = ids[static_cast<size_t>(n)];
    if (id < 0) continue;
    const double* from = weight("model.embed_tokens.weight")[id];
    std::copy(from, from + s_.width, x[n]);
  }
  return x;
}

void RowPass::embed_backward(const std::vector<int>& ids, const Matrix& dx) const {
  Matrix& dtable = gradient("model.embed_tokens.weight");
  for (int64_t n = 0; n < length(); ++n) {
    const int id = ids[static_cast<size_t>(n)];
    if (id < 0) continue;
    for (int64_t i = 0; i < s_.width; ++i) dtable[id][i] += dx[n][i];
  }
}

Matrix RowPass::layer_forward(int64_t layer, const Matrix& x, const RowChoices* replay,
                              RowChoices& choices) {
  const std::string name = prefix(layer);
  LayerPass& p = layers_.emplace_back();
  p.x = x;
  p.normed = rms_norm(x, weight(name + "input_layernorm.weight"), s_.norm_eps);
  const int64_t window = s_.windows.empty() ? 0 : s_.windows[static_cast<size_t>(layer)];
  p.h = x;
  add_to(p.h, p.attention.forward(s_, attention_weights(layer), row_, window, p.normed));
  p.ffn_normed = rms_norm(p.h, weight(name + "post_attention_layernorm.weight"), s_.norm_eps);
  Matrix y = p.h;
  if (is_moe(layer)) {
    const std::vector<int>* given = replay ? &(*replay)[static_cast<size_t>(layer)] : nullptr;
    add_to(y, moe_forward(layer, p.ffn_normed, given, p.moe));
  } else {
    p.dense = feed_forward(ffn_weights(name + "mlp."), p.ffn_normed);
    add_to(y, p.dense.out);
  }
  choices.push_back(p.moe.router.chosen);
  return y;
}

void RowPass::layer_backward(int64_t layer, double balance_factor, Matrix& dx) const {
  const LayerPass& p = layers_[static_cast<size_t>(layer)];
  const std::string ffn_norm = prefix(layer) + "post_attention_layernorm.weight";
  const std::string norm = prefix(layer) + "input_layernorm.weight";
  const Matrix dfed = is_moe(layer)
                          ? moe_backward(layer, p.ffn_normed, p.moe, dx, balance_factor)
                          : feed_forward_backward(ffn_weights(prefix(layer) + "mlp."), p.dense, dx);
  rms_norm_backward(p.h, weight(ffn_norm), s_.norm_eps, dfed, dx, gradient(ffn_norm));
  const Matrix dattended = p.attention.backward(s_, attention_weights(layer), row_, dx);
  rms_norm_backward(p.x, weight(norm), s_.norm_eps, dattended, dx, gradient(norm));
}

double RowPass::loss(const std::vector<int>& labels, Matrix& logits) const {
  double sum = 0;
  for (int64_t n = 0; n < length(); ++n) {
    const int label = labels[static_cast<size_t>(n)];
    if (label < 0) {
      std::fill(logits[n], logits[n] + s_.vocab, 0.0);
      continue;
    }
    const double logit = logits[n][label];
    sum += softmax(logits[n], s_.vocab) - logit;
    logits[n][label] -= 1.0;
  }
  return sum;
}

RowChoices RowPass::forward(const RowChoices* replay) {
  RowChoices choices;
  last_ = embed(row_.ids);
  for (int64_t layer = 0; layer < s_.layers; ++layer)
    last_ = layer_forward(layer, last_, replay, choices);
  last_normed_ = rms_norm(last_, weight("model.norm.weight"), s_.norm_eps);
  dlogits_ = product(last_normed_, weight(head()));
  lm_sum = loss(row_.labels, dlogits_);
  if (s_.further) further_forward(replay, choices);
  return choices;
}

// h' = eh_proj [enorm(Emb(t + 1)); hnorm(h)], a layer, and the token at t + 2.  The last token of a
// document has no next one, and the last but one none after that.
void RowPass::further_forward(const RowChoices* replay, RowChoices& choices) {
  const std::string name = prefix(s_.layers);
  const auto end = row_.ids.size();
  std::vector<int> labels(end, -1);
  further_.ids.assign(end, -1);
  for (size_t n = 0; n < end; ++n) {
    const bool has_next = n + 1 < end && row_.doc_start[n + 1] == row_.doc_start[n];
    further_.ids[n] = has_next ? row_.ids[n + 1] : row_.labels[n];
    if (has_next && row_.labels[n] >= 0) labels[n] = row_.labels[n + 1];
  }
  further_.embedded = embed(further_.ids);
  const Matrix e = rms_norm(further_.embedded, weight(name + "enorm.weight"), s_.norm_eps);
  const Matrix h = rms_norm(last_normed_, weight(name + "hnorm.weight"), s_.norm_eps);
  further_.joined = Matrix(length(), 2 * s_.width);
  for (int64_t n = 0; n < length(); ++n) {
    std::copy(e[n], e[n] + s_.width, further_.joined[n]);
    std::copy(h[n], h[n] + s_.width, further_.joined[n] + s_.width);
  }
  further_.last = layer_forward(
      s_.layers, product(further_.joined, weight(name + "eh_proj.weight")), replay, choices);
  further_.last_normed =
      rms_norm(further_.last, weight(name + "shared_head.norm.weight"), s_.norm_eps);
  further_.dlogits = product(further_.last_normed, weight(head()));
  further_sum = loss(labels, further_.dlogits);
}

void RowPass::further_backward(double factor, double balance_factor, Matrix& dh) const {
  const std::string name = prefix(s_.layers);
  Matrix dlogits = further_.dlogits;
  for (double& d : dlogits.values) d *= factor;
  Matrix dlast(length(), s_.width), dx = dlast, de = dlast, dhidden = dlast, dembedded = dlast;
  product_backward(further_.last_normed, weight(head()), dlogits, dlast, gradient(head()));
  rms_norm_backward(further_.last, weight(name + "shared_head.norm.weight"), s_.norm_eps, dlast, dx,
                    gradient(name + "shared_head.norm.weight"));
  layer_backward(s_.layers, balance_factor, dx);
  Matrix djoined(length(), 2 * s_.width);
  product_backward(further_.joined, weight(name + "eh_proj.weight"), dx, djoined,
                   gradient(name + "eh_proj.weight"));
  for (int64_t n = 0; n < length(); ++n) {
    std::copy(djoined[n], djoined[n] + s_.width, de[n]);
    std::copy(djoined[n] + s_.width, djoined[n] + 2 * s_.width, dhidden[n]);
  }
  rms_norm_backward(further_.embedded, weight(name + "enorm.weight"), s_.norm_eps, de, dembedded,
                    gradient(name + "enorm.weight"));
  embed_backward(further_.ids, dembedded);
  rms_norm_backward(last_normed_, weight(name + "hnorm.weight"), s_.norm_eps, dhidden, dh,
                    gradient(name + "hnorm.weight"));
}

void RowPass::backward(double lm_factor, double balance_factor) {
  for (double& d : dlogits_.values) d *= lm_factor;
  Matrix dlast(last_.rows, last_.cols), dx = dlast;
  product_backward(last_normed_, weight(head()), dlogits_, dlast, gradient(head()));
  if (s_.further) further_backward(lm_factor * s_.further_weight, balance_factor, dlast);
  rms_norm_backward(last_, weight("model.norm.weight"), s_.norm_eps, dlast, dx,
                    gradient("model.norm.weight"));
  for (int64_t layer = s_.layers - 1; layer >= 0; --layer)
    layer_backward(layer, balance_factor, dx);
  embed_backward(row_.ids, dx);
}

}  // namespace

ReferenceResult run_reference(const ReferenceShape& shape, const Matrices& weights,
                              const std::vector<ReferenceRow>& rows,
                              const std::vector<RowChoices>* replay) {
  ReferenceResult result;
  result.counts.resize(static_cast<size_t>(shape.all_layers()));
  result.dropped.resize(static_cast<size_t>(shape.all_layers()));
  for (const auto& [name, w] : weights) {
    if (is_router_bias(name)) continue;
    Matrix& gradient = result.gradients[name] = Matrix(w.rows, w.cols);
    gradient.is_vector = w.is_vector;
  }
  for (const ReferenceRow& row : rows) {
    for (int id : row.ids) result.routed_tokens += id >= 0 ? 1 : 0;
    for (int label : row.labels) result.labelled_tokens += label >= 0 ? 1 : 0;
  }
  // A mean over nothing is 0.
  const double lm_factor =
      result.labelled_tokens > 0 ? 1.0 / static_cast<double>(result.labelled_tokens) : 0.0;
  const double balance_factor =
      result.routed_tokens > 0 ? 1.0 / static_cast<double>(result.routed_tokens) : 0.0;
  for (size_t r = 0; r < rows.size(); ++r) {
    RowPass pass(shape, weights, rows[r], result);
    result.choices.push_back(pass.forward(replay ? &(*replay)[r] : nullptr));
    pass.backward(lm_factor, balance_factor);
    result.lm_loss += pass.lm_sum * lm_factor;
    result.further_loss += shape.further_weight * pass.further_sum * lm_factor;
    result.balance_loss += pass.balance_sum * balance_factor;
  }
  result.loss = result.lm_loss + result.further_loss + result.balance_loss;
  return result;
}

void update_router_biases(const ReferenceShape& shape, const ReferenceResult& step,
                          Matrices& weights) {
  for (int64_t layer = 0; shape.has_bias && layer < shape.all_layers(); ++layer) {
    const std::vector<double>& counts = step.counts[static_cast<size_t>(layer)];
    if (counts.empty()) continue;
    double mean = 0;
    for (double count : counts) mean += count / static_cast<double>(counts.size());
    Matrix& bias =
        weights.at("model.layers." + std::to_string(layer) + ".mlp.gate.e_score_correction_bias");
    for (size_t e = 0; e < counts.size(); ++e) {
      const double lacking = mean - counts[e];
      if (lacking > 1e-9) bias.values[e] += shape.bias_update_rate;
      if (lacking < -1e-9) bias.values[e] -= shape.bias_update_rate;
    }
  }
}

}  // namespace orthant::testing
