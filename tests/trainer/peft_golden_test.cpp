// SPDX-License-Identifier: Apache-2.0
// Adapters over tiny models compute what PEFT computes: log-probabilities, gradients of A and B,
// and both after a step of AdamW.
#include <gtest/gtest.h>

#include <cmath>

#include "checkpoint/reader.h"
#include "model/hub/peft_tensors.h"
#include "tests/trainer/peft_testing.h"
#include "trainer/hub/hub_model.h"
#include "trainer/layout_run.h"

namespace orthant::testing {
namespace {

using Values = std::vector<double>;

class GoldenAdapter : public ::testing::TestWithParam<std::string> {
 protected:
  GoldenAdapter() : folder_(GetParam()), base_(folder_.import_base()) {
    const Json hub = golden_model(folder_.golden["model"]);
    ids_ = hub["ids"].get<std::vector<int32_t>>();
    kept_ = hub["kept_ids"].get<std::vector<size_t>>();
  }

  double off_by(const std::string& precision) const {
    const SavedModel saved = load_saved_model("test", base_run(), precision, adapter_path());
    return largest_difference(log_probs_of(saved, ids_, kept_),
                              folder_.golden["log_probs"].get<std::vector<Values>>());
  }

  // A step of the run, from the base's weights and the adapter's.
  LayoutRun step(DType precision) const {
    const StoredAdapter adapter = open_peft_adapter(folder_.write(), base_);
    RunConfig config = base_;
    config.lora = adapter.lora;
    config.precision = precision;
    config.moe.balance = {.expert = 0, .sequence = 0};
    config.run.max_steps = 1;
    config.data.train = {{.path = "none.txt"}};  // never opened
    config.batch = {
        .micro_batch_size = 1, .global_batch_size = 1, .sequence_length = std::ssize(ids_)};
    config.optimizer = {.learning_rate = 0.01, .betas = {0.9, 0.95}, .grad_clip = 1e9};
    config.schedule = {.shape = ScheduleShape::kConstant, .total_steps = 1};
    LayoutRunOptions options{.steps = 1, .gradients = true};
    const HubModel hub(test_folder() + "/model");
    for (const ImportTensor& tensor : hub.tensors()) {
      const std::string bytes = hub.read(tensor);
      const auto* values = reinterpret_cast<const double*>(bytes.data());
      options.weights[tensor.name].assign(values, values + tensor.shape.numel());
    }
    for (const auto& [name, shape] : adapter.tensors)
      options.weights[name] = adapter.read(name).to_doubles();
    return run_layout(
        RunPlan(config, 1), [&](int64_t, int64_t) { return row_of(ids_); }, options, Group::self());
  }

  // In PEFT's order: rows of B are those of the weight there.
  Values in_their_order(const std::string& name, Values values, const Shape& shape) const {
    if (name.find("lora_B") == std::string::npos) return values;
    const std::string module = module_of(name);
    const RotaryRows rotary = hub_tensor(base_.model, module + ".weight", shape).rotary;
    reorder_rows(HubDirection::kOut, rotary, shape[0],
                 shape[1] * static_cast<int64_t>(sizeof(double)),
                 reinterpret_cast<char*>(values.data()));
    return values;
  }

  void expect_entries(const NamedValues& got, const std::string& key, double tolerance) const {
    const StoredAdapter adapter = open_peft_adapter(adapter_path(), base_);
    const Json& gradients = folder_.golden["gradients"];
    EXPECT_EQ(adapter.tensors.size(), gradients.size());
    double worst = 0;
    for (const auto& [name, gradient] : gradients.items()) {
      const Shape& shape = adapter.tensors.at(name);
      const Values values = in_their_order(name, got.at(name), shape);
      const size_t step = gradient["step"].get<size_t>();
      const Values want =
          (key == "gradients" ? gradient["entries"] : folder_.golden[key][name]).get<Values>();
      const double largest =
          key == "gradients" ? std::max(gradient["largest"].get<double>(), 1e-9) : 1.0;
      for (size_t i = 0; i < want.size(); ++i) {
        const double off = std::abs(values[i * step] - want[i]) / largest;
        EXPECT_LT(off, tolerance) << name << " entry " << i;
        worst = std::max(worst, off);
      }
    }
    std::cout << "  " << key << " " << worst << "\n";
  }

  AdapterFolder folder_;
  RunConfig base_;
  std::vector<int32_t> ids_;
  std::vector<size_t> kept_;
};

INSTANTIATE_TEST_SUITE_P(Families, GoldenAdapter, ::testing::ValuesIn(kGoldenAdapters),
                         [](const auto& info) { return info.param; });

TEST_P(GoldenAdapter, LogProbabilitiesAreThoseOfPeft) {
  folder_.write();
  for (const char* precision : {"fp64", "fp32"}) {
    const double off = off_by(precision);
    std::cout << "  " << precision << ": log-probabilities " << off << "\n";
    EXPECT_LT(off, 1e-5) << precision;
  }
}

TEST_P(GoldenAdapter, GradientsAndAStepOfAdamWAreThoseOfPeft) {
  for (const DType precision : {DType::kF64, DType::kF32}) {
    const LayoutRun run = step(precision);
    EXPECT_NEAR(run.steps[0].objective_loss, folder_.golden["loss"].get<double>(), 1e-5);
    expect_entries(run.gradients, "gradients", 1e-4);
    // A step is the learning rate times the gradient's sign, nearly, so that rounding shows.
    expect_entries(run.weights, "updated", precision == DType::kF64 ? 1e-5 : 1e-4);
  }
}

TEST(PeftAdapter, GateAndUpThatShareTheirPairHaveAllOfItEach) {
  AdapterFolder folder("mixtral_shared");
  const RunConfig model = folder.import_base();
  const StoredAdapter adapter = open_peft_adapter(folder.write(), model);
  for (const char* part : {"gate_proj", "up_proj", "down_proj"})
    EXPECT_EQ(
        adapter.tensors.at(concat("model.layers.1.mlp.experts.5.", part, ".lora_A.weight"))[0], 4)
        << part;
  const Json hub = golden_model("mixtral");
  const SavedModel saved = load_saved_model("test", base_run(), "fp64", adapter_path());
  EXPECT_LT(largest_difference(log_probs_of(saved, hub["ids"].get<std::vector<int32_t>>(),
                                            hub["kept_ids"].get<std::vector<size_t>>()),
                               folder.golden["log_probs"].get<std::vector<Values>>()),
            1e-5);
}

}  // namespace
}  // namespace orthant::testing
