// SPDX-License-Identifier: Apache-2.0
// Optimizers and the norm.
#include "tests/conformance/cases.h"

namespace orthant::testing {
namespace {

struct Weights {
  View param, master;
};

// param is the master itself where the model's type is wide enough.
Weights weights(Trial& run, int64_t n) {
  const bool narrow = run.type(Kind::kModel) != run.type(Kind::kWide);
  const View master = run.inout("master", Kind::kWide, {n}, normal(1), Near::kWide);
  if (narrow) return {run.out("param", Kind::kModel, {n}), master};
  run.same_as("param", "master", Near::kModel);
  return {master, master};
}

void adamw_step(Trial& run, int64_t n, double decay) {
  const Weights w = weights(run, n);
  CALL(run, adamw,
       AdamwArgs{.param = w.param,
                 .master = w.master,
                 .m = run.inout("m", Kind::kWide, {n}, normal(2, 0.1), Near::kWide),
                 .v = run.inout("v", Kind::kWide, {n}, uniform(3, 0.001, 0.1), Near::kWide),
                 .grad = run.in(Kind::kWide, {n}, normal(4)),
                 .learning_rate = 0.01,
                 .beta1 = 0.9,
                 .beta2 = 0.95,
                 .eps = 1e-8,
                 .weight_decay = decay,
                 .bias1 = 1 - 0.9 * 0.9,
                 .bias2 = 1 - 0.95 * 0.95,
                 .grad_scale = 0.25});
}

void sgd_step(Trial& run, int64_t n) {
  const Weights w = weights(run, n);
  CALL(run, sgd,
       SgdArgs{.param = w.param,
               .master = w.master,
               .grad = run.in(Kind::kWide, {n}, normal(4)),
               .learning_rate = 0.1,
               .weight_decay = 0.2,
               .grad_scale = 0.5});
}

void squares(Trial& run, int64_t n) {
  CALL(run, sum_squares,
       SumSquaresArgs{.x = run.in(Kind::kModel, {n}, normal(1)),
                      .sums = run.out("sums", Kind::kF64, {(n + 4095) / 4096}, Near::kWide)});
}

}  // namespace

void add_training_cases(std::vector<ConformanceCase>& cases) {
  for (const int64_t n : {1, 1001, 40003}) {
    const std::string name = std::to_string(n) + " elements";
    cases.push_back({"adamw", name, [n](Trial& run) { adamw_step(run, n, 0.1); }});
    cases.push_back({"sgd", name, [n](Trial& run) { sgd_step(run, n); }});
  }
  cases.push_back({"adamw", "no decay", [](Trial& run) { adamw_step(run, 77, 0.0); }});
  for (const int64_t n : {1, 4095, 4096, 4097, 20000}) {
    cases.push_back(
        {"sum_squares", std::to_string(n) + " elements", [n](Trial& run) { squares(run, n); }});
  }
}

}  // namespace orthant::testing
