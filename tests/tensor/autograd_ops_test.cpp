// SPDX-License-Identifier: Apache-2.0
#include <gtest/gtest.h>

#include <cmath>

#include "base/error.h"
#include "tensor/autograd/low_rank.h"
#include "tensor/autograd/soft_loss.h"
#include "tests/tensor/op_case.h"

namespace orthant::testing {
namespace {

std::shared_ptr<const std::vector<int64_t>> offsets(std::vector<int64_t> values) {
  return std::make_shared<const std::vector<int64_t>>(std::move(values));
}

RouterOptions router_options() {
  RouterOptions o{.experts_per_token = 2, .sequence_length = 3, .normalize = false, .scale = 1.5};
  // Fixed choices: finite differences must not cross a change of the top k.
  o.replay = ints({6, 2}, {0, 3, 1, 2, 4, 0, 2, 3, -1, -1, 4, 1});
  return o;
}

Var weights_of(const Var& logits, const RouterOptions& options) {
  const Tensor valid = ints({6}, {1, 1, 1, 1, 0, 1});
  return route(logits, valid, choose_experts(logits.value(), valid, options), options);
}

RotaryTable rotary_table(DType dtype) {
  return make_rotary_table(9, rotary_frequencies(8, 10000.0), 1.5, wide_of(dtype), Device{});
}

// Beside columns [1, 5) and [6, 8) of a product.
LowRank two_parts(OpInputs& in) {
  return {.a = in.w[1].get(),
          .parts = {{.b = in.w[2].get(), .begin = 1, .scale = 1.5},
                    {.b = in.w[3].get(), .begin = 6, .scale = -0.5}}};
}

// A teacher of 9 tokens at 5 rows; events: the 3 likeliest, or with one for all others (4), or 0
// for all tokens.
SoftTargets soft_targets(int64_t events, DType dtype) {
  SoftTargets targets;
  if (events == 0) {
    targets.logits = [dtype](int64_t begin, int64_t end) {
      return random_tensor({5, 9}, wide_of(dtype), "teacher").slice(begin, end).clone();
    };
    return targets;
  }
  targets.ids = ints({5, 3}, {4, 1, 7, 0, 8, 2, -1, -1, -1, 6, 0, 3, 8, 7, 1});
  targets.log_probs = random_tensor({5, events}, DType::kF64, "log_probs");
  return targets;
}

OpCase soft_case(const std::string& name, int64_t events, double temperature, double forward,
                 double reverse, double label_weight) {
  return {.name = "head_loss_" + name,
          .inputs = {{5, 4}},
          .weights = {{9, 4}},
          .run =
              [=](OpInputs& in) {
                SoftTargets targets = soft_targets(events, in.dtype);
                targets.temperature = temperature;
                targets.forward = forward;
                targets.reverse = reverse;
                targets.weight = 1 - label_weight;
                targets.label_weight = label_weight;
                return head_loss(in.x[0], *in.w[0], ints({5}, {0, 8, -1, 3, 3}), {}, {}, {},
                                 &targets)
                    .sum;
              },
          .is_loss = true};
}

// Of columns [1, 4) and [5, 7).
std::vector<ColumnScale> two_scales(OpInputs& in, const Shape& first, const Shape& second) {
  const auto norm = [&](const Shape& shape, const char* name) {
    const Tensor n = random_tensor(shape, DType::kF64, name);
    for (double& value : n.span<double>()) value = 1.0 + value * value;
    return n.to(wide_of(in.dtype));
  };
  return {{.magnitude = in.w[0].get(), .norm = norm(first, "n0"), .begin = 1},
          {.magnitude = in.w[1].get(), .norm = norm(second, "n1"), .begin = 5}};
}

std::vector<OpCase> op_cases() {
  const AttentionShape gqa{
      .batch = 2, .heads = 4, .kv_heads = 2, .qk_dim = 6, .v_dim = 4, .scale = 0.4};
  const Tensor docs = ints({14}, {0, 0, 0, 3, 3, 3, 3, 0, 0, 2, 2, 2, 6, 6});
  return {
      {.name = "linear",
       .inputs = {{5, 7}},
       .weights = {{3, 7}},
       .run = [](OpInputs& in) { return linear(in.x[0], *in.w[0]); }},
      {.name = "linear_3d",
       .inputs = {{2, 3, 33}},
       .weights = {{35, 33}},
       .run = [](OpInputs& in) { return linear(in.x[0], *in.w[0]); }},
      {.name = "grouped_linear",
       .inputs = {{9, 5}},
       .weights = {{4, 3, 5}},
       .run =
           [](OpInputs& in) {
             return grouped_linear(in.x[0], *in.w[0], offsets({0, 4, 4, 6, 9}));
           }},
      {.name = "adapted_linear",
       .inputs = {{5, 7}},
       .weights = {{9, 7}, {5, 7}, {4, 3}, {2, 2}},
       .run = [](OpInputs& in) { return adapted_linear(in.x[0], *in.w[0], two_parts(in)); }},
      {.name = "adapted_linear_other_input",
       .inputs = {{5, 7}, {5, 7}},
       .weights = {{9, 7}, {5, 7}, {4, 3}, {2, 2}},
       .run =
           [](OpInputs& in) {
             return adapted_linear(in.x[0], *in.w[0], two_parts(in), nullptr, in.x[1]);
           }},
      {.name = "adapted_linear_grouped",
       .inputs = {{9, 5}},
       .weights = {{4, 8, 5}, {4, 5, 5}, {4, 4, 3}, {4, 2, 2}},
       .run =
           [](OpInputs& in) {
             return adapted_linear(in.x[0], *in.w[0], two_parts(in), offsets({0, 4, 4, 6, 9}));
           }},
      {.name = "adapted_linear_of_some_rows",
       .inputs = {{5, 7}},
       .weights = {{9, 7}, {5, 7}, {4, 3}, {2, 2}},
       .run =
           [](OpInputs& in) {
             LowRank low = two_parts(in);
             low.parts[0].rows = {.all = false, .rows = ints({5}, {0, -1, 2, -1, 4})};
             low.parts[1].rows = {.all = false, .rows = ints({5}, {-1, 1, 2, -1, -1})};
             return adapted_linear(in.x[0], *in.w[0], low);
           }},
      {.name = "adapted_linear_of_no_rows",
       .inputs = {{5, 7}},
       .weights = {{9, 7}, {5, 7}, {4, 3}, {2, 2}},
       .run =
           [](OpInputs& in) {
             LowRank low = two_parts(in);
             low.parts[0].rows = {.all = false};
             return adapted_linear(in.x[0], *in.w[0], low);
           }},
      {.name = "scale_columns",
       .inputs = {{5, 7}},
       .weights = {{3}, {2}},
       .run = [](OpInputs& in) { return scale_columns(in.x[0], two_scales(in, {3}, {2})); },
       .wide_weights = true},
      {.name = "scale_columns_grouped",
       .inputs = {{9, 7}},
       .weights = {{4, 3}, {4, 2}},
       .run =
           [](OpInputs& in) {
             return scale_columns(in.x[0], two_scales(in, {4, 3}, {4, 2}),
                                  offsets({0, 4, 4, 6, 9}));
           },
       .wide_weights = true},
      {.name = "embedding",
       .weights = {{6, 4}},
       .run =
           [](OpInputs& in) {
             return embedding(ints({5}, {1, 5, 1, -1, 0}), *in.w[0]);
           }},
      {.name = "rms_norm",
       .inputs = {{4, 19}},
       .weights = {{19}},
       .run = [](OpInputs& in) { return rms_norm(in.x[0], *in.w[0], 1e-5); },
       .wide_weights = true},
      {.name = "rotary",
       .inputs = {{4, 22}},
       .run =
           [](OpInputs& in) {
             return rotary(in.x[0], ints({4}, {0, 8, 3, 5}), rotary_table(in.dtype), 2, 8);
           }},
      {.name = "rotary_part",
       .inputs = {{4, 27}},
       .run =
           [](OpInputs& in) {
             return rotary(in.x[0], ints({4}, {0, 8, 3, 5}), rotary_table(in.dtype), 2, 12, 3);
           }},
      {.name = "norm_heads",
       .inputs = {{4, 31}},
       .weights = {{5}, {9}},
       .run =
           [](OpInputs& in) {
             const HeadNorm norms[] = {{1, 3, 5, in.w[0].get()}, {16, 1, 9, in.w[1].get()}};
             return norm_heads(in.x[0], norms, 1e-5);
           },
       .wide_weights = true},
      {.name = "add_bias",
       .inputs = {{5, 7}},
       .weights = {{7}},
       .run = [](OpInputs& in) { return add_bias(in.x[0], *in.w[0]); }},
      {.name = "columns",
       .inputs = {{3, 7}},
       .run = [](OpInputs& in) { return columns(in.x[0], 2, 6); }},
      {.name = "latent_qkv",
       .inputs = {{4, 3 * 7}, {4, 3 * 9}, {4, 2}},
       .run =
           [](OpInputs& in) {
             return latent_qkv(in.x[0], in.x[1], in.x[2],
                               {.heads = 3, .nope_dim = 5, .rope_dim = 2, .v_dim = 4});
           }},
      {.name = "attention",
       .inputs = {{14, 4 * 6 + 2 * 6 + 2 * 4}},
       .run = [=](OpInputs& in) { return attention(in.x[0], docs, gqa); }},
      {.name = "attention_window",
       .inputs = {{14, 4 * 6 + 2 * 6 + 2 * 4}},
       .run =
           [=](OpInputs& in) {
             AttentionShape shape = gqa;
             shape.window = 3;
             return attention(in.x[0], docs, shape);
           }},
      {.name = "attention_long",
       .inputs = {{150, 3 * 8}},
       .run =
           [](OpInputs& in) {
             std::vector<int32_t> start(150, 0);
             for (size_t i = 70; i < 150; ++i) start[i] = 70;
             return attention(
                 in.x[0], ints({150}, start),
                 {.batch = 1, .heads = 1, .kv_heads = 1, .qk_dim = 8, .v_dim = 8, .scale = 0.35});
           }},
      {.name = "swiglu", .inputs = {{3, 10}}, .run = [](OpInputs& in) { return swiglu(in.x[0]); }},
      {.name = "softmax",
       .inputs = {{3, 9}},
       .run = [](OpInputs& in) { return softmax(in.x[0]); },
       .wide_inputs = {true}},
      {.name = "add",
       .inputs = {{3, 4}, {3, 4}},
       .run = [](OpInputs& in) { return add(in.x[0], in.x[1]); }},
      {.name = "add_self",
       .inputs = {{3, 4}},
       .run = [](OpInputs& in) { return add(in.x[0], add(in.x[0], in.x[0])); }},
      {.name = "scale",
       .inputs = {{3, 4}},
       .run = [](OpInputs& in) { return scale(in.x[0], -0.7); }},
      {.name = "cast",
       .inputs = {{3, 4}},
       .run = [](OpInputs& in) { return cast(in.x[0], wide_of(in.dtype)); }},
      {.name = "dropout",
       .inputs = {{7, 5}},
       .run =
           [](OpInputs& in) {
             const Tensor tokens =
                 Tensor::from_i64({7}, std::vector<int64_t>{11, 12, 13, 900, 901, 902, 903});
             return dropout(in.x[0], 0.4, {1, 2}, 3, {.tokens = tokens, .width = 8, .column = 2});
           }},
      {.name = "head_loss",
       .inputs = {{5, 4}},
       .weights = {{9, 4}},
       .run =
           [](OpInputs& in) {
             return head_loss(in.x[0], *in.w[0], ints({5}, {0, 8, -1, 3, 3})).sum;
           },
       .is_loss = true},
      {.name = "head_loss_weighted",
       .inputs = {{5, 4}},
       .weights = {{9, 4}},
       .run =
           [](OpInputs& in) {
             const Tensor weights = Tensor::from({5}, {{0.5, 2.5, 3.0, -0.75, 0.0}}, DType::kF32);
             return head_loss(in.x[0], *in.w[0], ints({5}, {0, 8, -1, 3, 3}), {}, weights).sum;
           },
       .is_loss = true},
      {.name = "head_loss_adapted",
       .inputs = {{5, 4}, {5, 3}},
       .weights = {{9, 4}, {9, 3}},
       .run =
           [](OpInputs& in) {
             return head_loss(in.x[0], *in.w[0], ints({5}, {0, 8, -1, 3, 3}), {}, {},
                              {.low = in.x[1], .b = in.w[1].get()})
                 .sum;
           },
       .is_loss = true},
      soft_case("forward", 4, 1.0, 1, 0, 0.0),
      soft_case("reverse", 4, 2.0, 0, 1, 0.0),
      soft_case("mixed", 4, 0.7, 0.3, 0.7, 0.4),
      soft_case("likeliest_alone", 3, 1.5, 0.5, 0.5, 0.25),
      soft_case("whole_forward", 0, 2.0, 1, 0, 0.5),
      soft_case("whole_mixed", 0, 1.5, 0.6, 0.4, 0.0),
      {.name = "join_columns",
       .inputs = {{3, 2}, {3, 5}},
       .run = [](OpInputs& in) { return join_columns(in.x[0], in.x[1]); }},
      {.name = "gather_rows",
       .inputs = {{3, 4}},
       .run =
           [](OpInputs& in) {
             return gather_rows(in.x[0], ints({5}, {2, 0, 0, 2, 1}),
                                ints({3, 3}, {1, 2, -1, 4, -1, -1, 0, 3, -1}));
           }},
      {.name = "combine",
       .inputs = {{5, 4}, {3, 2}},
       .run =
           [](OpInputs& in) {
             return combine(in.x[0], in.x[1], ints({3, 2}, {1, 2, 4, -1, 0, 3}));
           },
       .wide_inputs = {false, true}},
      {.name = "route",
       .inputs = {{6, 5}},
       .run = [](OpInputs& in) { return weights_of(in.x[0], router_options()); },
       .wide_inputs = {true}},
      {.name = "route_sigmoid",
       .inputs = {{6, 5}},
       .run =
           [](OpInputs& in) {
             RouterOptions o = router_options();
             o.score = ScoreKind::kSigmoid;
             return weights_of(in.x[0], o);
           },
       .wide_inputs = {true}},
      {.name = "route_sigmoid_normalized",
       .inputs = {{6, 5}},
       .run =
           [](OpInputs& in) {
             RouterOptions o = router_options();
             o.score = ScoreKind::kSigmoid;
             o.normalize = true;
             return weights_of(in.x[0], o);
           },
       .wide_inputs = {true}},
      {.name = "route_normalized",
       .inputs = {{6, 5}},
       .run =
           [](OpInputs& in) {
             RouterOptions o = router_options();
             o.normalize = true;
             return weights_of(in.x[0], o);
           },
       .wide_inputs = {true}},
      {.name = "recompute",
       .inputs = {{4, 6}},
       .weights = {{8, 6}, {6, 4}},
       .run =
           [](OpInputs& in) {
             return recompute(
                 [&in](const Var& v) { return linear(swiglu(linear(v, *in.w[0])), *in.w[1]); },
                 in.x[0]);
           }},
  };
}

// sum(y * r) for a fixed r.
double projected(const Tensor& y, const std::vector<double>& r) {
  const std::vector<double> values = y.to_doubles();
  double sum = 0;
  for (size_t i = 0; i < values.size(); ++i) sum += values[i] * r[i];
  return sum;
}

class OpTest : public ::testing::TestWithParam<size_t> {
 protected:
  OpCase c = op_cases()[GetParam()];
  Tensor start_of_backward(const Var& y) const {
    if (c.is_loss) return Tensor::from({1}, {{1.0}}, DType::kF64);
    return random_tensor(y.value().shape(), DType::kF64, "r");
  }
};

TEST_P(OpTest, GradientsMatchFiniteDifferences) {
  OpInputs in = make_inputs(c, DType::kF64);
  const Var y = c.run(in);
  const Tensor r = start_of_backward(y);
  const std::vector<double> rv = r.to_doubles();
  backward(y, r);
  // Moves one element of `place`, in place, and asks for the loss.
  const auto check = [&](const Tensor& place, const Tensor& grad, const std::string& what) {
    const int64_t stride = std::max<int64_t>(1, place.numel() / 60);
    double largest = 1e-3;
    for (double g : grad.to_doubles()) largest = std::max(largest, std::abs(g));
    for (int64_t i = 0; i < place.numel(); i += stride) {
      double& element = place.as<double>()[i];
      const double keep = element, h = 1e-5;
      const NoGradScope no_grad;
      element = keep + h;
      const double up = projected(c.run(in).value(), rv);
      element = keep - h;
      const double down = projected(c.run(in).value(), rv);
      element = keep;
      EXPECT_NEAR((up - down) / (2 * h), grad.as<double>()[i], 1e-7 * std::max(1.0, largest))
          << c.name << " " << what << " element " << i;
    }
  };
  for (size_t i = 0; i < in.x.size(); ++i)
    check(in.x[i].value(), in.x[i].grad(), "input " + std::to_string(i));
  for (size_t i = 0; i < in.w.size(); ++i)
    check(in.w[i]->value(), in.w[i]->grad(), "weight " + std::to_string(i));
}

TEST_P(OpTest, NarrowTypesFollowF64) {
  OpInputs wide = make_inputs(c, DType::kF64);
  const Var want = c.run(wide);
  const Tensor r = start_of_backward(want);
  backward(want, r);
  const auto close = [&](const Tensor& got, const Tensor& expected, double tolerance,
                         const std::string& what) {
    const std::vector<double> a = got.to_doubles(), b = expected.to_doubles();
    ASSERT_EQ(a.size(), b.size());
    double largest = 1e-6, worst = 0;
    for (double x : b) largest = std::max(largest, std::abs(x));
    for (size_t i = 0; i < a.size(); ++i) worst = std::max(worst, std::abs(a[i] - b[i]));
    EXPECT_LE(worst, tolerance * largest) << c.name << " " << what;
  };
  for (const DType dtype : {DType::kF32, DType::kBF16}) {
    const double tolerance = dtype == DType::kF32 ? 2e-5 : c.narrow_tolerance;
    OpInputs in = make_inputs(c, dtype);
    const Var y = c.run(in);
    close(y.value(), want.value(), tolerance, "value");
    backward(y, r.to(y.value().dtype()));
    for (size_t i = 0; i < in.x.size(); ++i)
      close(in.x[i].grad(), wide.x[i].grad(), tolerance, "gradient");
    for (size_t i = 0; i < in.w.size(); ++i)
      close(in.w[i]->grad(), wide.w[i]->grad(), tolerance, "weight gradient");
  }
}

INSTANTIATE_TEST_SUITE_P(Ops, OpTest, ::testing::Range<size_t>(0, op_cases().size()),
                         [](const auto& info) { return op_cases()[info.param].name; });

// The balance and z losses enter at the router: the gradient of alpha-weighted sums by the logits.
void expect_balance_gradient(ScoreKind score) {
  const Tensor logits = random_tensor({6, 5}, DType::kF64, "logits");
  const Tensor valid = ints({6}, {1, 1, 1, 1, 0, 1});
  const Tensor coef = random_tensor({2, 5}, DType::kF64, "coef");
  RouterOptions options = router_options();
  options.score = score;
  const auto loss = [&](const Routes& routes) {
    double sum = projected(routes.sums.score_sums, coef.to_doubles());
    const std::vector<double> lse = routes.lse.to_doubles();
    for (size_t t = 0; t < lse.size(); ++t)
      sum += valid.as<int32_t>()[t] ? 0.3 * lse[t] * lse[t] : 0.0;
    return sum;
  };
  const Var x = Var::leaf(logits);
  const Routes routes = choose_experts(logits, valid, options);
  backward(route(x, valid, routes, options, {.score_coef = coef, .z_coef = 0.3}),
           Tensor::zeros({6, 2}, DType::kF64));
  for (int64_t i = 0; i < logits.numel(); ++i) {
    double& element = logits.as<double>()[i];
    const double keep = element, h = 1e-5;
    element = keep + h;
    const double up = loss(choose_experts(logits, valid, options));
    element = keep - h;
    const double down = loss(choose_experts(logits, valid, options));
    element = keep;
    EXPECT_NEAR((up - down) / (2 * h), x.grad().as<double>()[i], 1e-8);
  }
}

TEST(RouteTest, BalanceGradientMatchesFiniteDifferences) {
  expect_balance_gradient(ScoreKind::kSoftmax);
  expect_balance_gradient(ScoreKind::kSigmoid);
}

}  // namespace
}  // namespace orthant::testing
