// SPDX-License-Identifier: Apache-2.0
// Tiny models of every family compute what transformers computes: log-probabilities, hidden states,
// gradients, greedy text.
#include "trainer/hub/hub_model.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <cstring>
#include <numeric>

#include "model/decoder.h"
#include "tests/data/files.h"
#include "tests/trainer/hub_model_testing.h"
#include "trainer/hub/import.h"
#include "trainer/layout_run.h"
#include "trainer/saved_model.h"

namespace orthant::testing {
namespace {

using Values = std::vector<double>;

class GoldenModel : public ::testing::TestWithParam<std::string> {
 protected:
  GoldenModel() : golden_(golden_model(GetParam())) {
    write_golden_folder(golden_, folder());
    ids_ = golden_["ids"].get<std::vector<int32_t>>();
  }
  static std::string folder() { return test_folder() + "/model"; }
  static std::string run() { return test_folder() + "/run"; }

  // One row; the label of a token is the next one.
  MicroBatch row() const {
    MicroBatch batch{.sequences = 1,
                     .length = std::ssize(ids_),
                     .ids = ids_,
                     .labels = {ids_.begin() + 1, ids_.end()},
                     .positions = std::vector<int32_t>(ids_.size()),
                     .doc_start = std::vector<int32_t>(ids_.size(), 0),
                     .sample_ids = {0}};
    batch.labels.push_back(kIgnoredLabel);
    std::iota(batch.positions.begin(), batch.positions.end(), 0);
    return batch;
  }

  nlohmann::json golden_;
  std::vector<int32_t> ids_;
};

INSTANTIATE_TEST_SUITE_P(Families, GoldenModel, ::testing::ValuesIn(kGoldenModels),
                         [](const auto& info) { return info.param; });

TEST_P(GoldenModel, LogProbabilitiesHiddenStatesAndGreedyTextAreThoseOfTransformers) {
  import_model({.folder = folder(), .run_dir = run()});
  for (const auto& [precision, tolerance] : {std::pair{"fp64", 1e-5}, {"fp32", 1e-5}}) {
    const SavedModel saved = load_saved_model("test", run(), precision);
    Pass pass(row(), {}, Device{});
    const NoGradScope no_grad;
    const Tensor hidden = saved.model->forward(Var(), pass).value();
    const Tensor logits = saved.model->head().logits(hidden);
    const Values h = hidden.to_doubles(), all = logits.to_doubles();
    const auto vocab = static_cast<size_t>(logits.dim(1)),
               width = static_cast<size_t>(hidden.dim(1));
    double worst = 0, worst_hidden = 0;
    for (size_t t = 0; t < ids_.size(); ++t) {
      const double* row = all.data() + t * vocab;
      const double top = *std::max_element(row, row + vocab);
      double sum = 0;
      for (size_t v = 0; v < vocab; ++v) sum += std::exp(row[v] - top);
      for (size_t k = 0; k < golden_["kept_ids"].size(); ++k) {
        const double got = row[golden_["kept_ids"][k].get<size_t>()] - top - std::log(sum);
        worst = std::max(worst, std::abs(got - golden_["log_probs"][t][k].get<double>()));
      }
      for (size_t i = 0; i < golden_["hidden"][t].size(); ++i)
        worst_hidden = std::max(worst_hidden,
                                std::abs(h[t * width + i] - golden_["hidden"][t][i].get<double>()));
    }
    std::cout << "  " << precision << ": log-probabilities " << worst << ", hidden states "
              << worst_hidden << "\n";
    EXPECT_LT(worst, tolerance) << precision;
    EXPECT_LT(worst_hidden, tolerance) << precision;
    const auto text = golden_["greedy"].get<std::vector<int32_t>>();
    DecodeCallbacks callbacks{.choose = [](int64_t, int64_t, const std::vector<double>& row) {
      return static_cast<int32_t>(std::max_element(row.begin(), row.end()) - row.begin());
    }};
    for (const LatentForm latent : {LatentForm::kNaive, LatentForm::kAbsorbed})
      EXPECT_EQ(Decoder({saved.model}, {.latent = latent})
                    .run({{{text.begin(), text.begin() + 8}, std::ssize(text) - 8}}, callbacks)[0],
                std::vector<int32_t>(text.begin() + 8, text.end()));
  }
}

TEST_P(GoldenModel, GradientsAreThoseOfTransformers) {
  const HubModel hub(folder());
  RunConfig config = hub.hub().config;
  config.precision = DType::kF64;
  config.moe.balance = {.expert = 0, .sequence = 0};
  config.run.max_steps = 1;
  config.data.train = {{.path = "none.txt"}};  // never opened
  config.batch = {
      .micro_batch_size = 1, .global_batch_size = 1, .sequence_length = std::ssize(ids_)};
  LayoutRunOptions options{.steps = 1, .gradients = true};
  for (const ImportTensor& tensor : hub.tensors()) {
    const std::string bytes = hub.read(tensor);
    Values& values = options.weights[tensor.name];
    values.resize(bytes.size() / sizeof(double));
    std::memcpy(values.data(), bytes.data(), bytes.size());
  }
  LayoutRun run = run_layout(
      RunPlan(config, 1), [&](int64_t, int64_t) { return row(); }, options, Group::self());
  const double count = run.steps[0].count;
  EXPECT_NEAR(run.steps[0].objective_loss * count, golden_["loss"].get<double>(), 1e-4);
  double worst = 0;
  for (const ImportTensor& tensor : hub.tensors()) {
    if (tensor.name.ends_with("e_score_correction_bias")) continue;
    Values& got = run.gradients.at(tensor.name);
    if (tensor.rotary.count > 0)
      reorder_rows(HubDirection::kOut, tensor.rotary, tensor.shape[0],
                   tensor.shape[1] * static_cast<int64_t>(sizeof(double)),
                   reinterpret_cast<char*>(got.data()));
    const nlohmann::json& want = golden_["gradients"].at(tensor.source.name);
    const double largest = want["largest"].get<double>();
    for (size_t i = 0; i < want["entries"].size(); ++i) {
      const double entry = got[i * want["step"].get<size_t>()] * count;
      const double off = std::abs(entry - want["entries"][i].get<double>()) /
                         std::max(largest, 1e-9);  // an expert may have no token
      EXPECT_LT(off, 1e-4) << tensor.name << " entry " << i;
      worst = std::max(worst, off);
    }
  }
  std::cout << "  gradients " << worst << " of the tensor's largest entry\n";
}

}  // namespace
}  // namespace orthant::testing
