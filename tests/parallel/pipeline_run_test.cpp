// SPDX-License-Identifier: Apache-2.0
// Schedules run by ranks that are threads: values against one loop, times against the simulator.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <chrono>
#include <cmath>
#include <map>
#include <thread>

#include "base/error.h"
#include "parallel/comm/threads/run_ranks.h"
#include "parallel/pipeline/generators.h"
#include "parallel/pipeline/interpreter.h"
#include "parallel/pipeline/simulator.h"

namespace orthant::pipeline {
namespace {

using ::testing::HasSubstr;

constexpr int64_t kWidth = 3;

// A stage with one weight a: y = a x + x^2 / 2 for each element.  The sum of weight gradients
// depends on their order.
struct ToyStage {
  double weight = 1, weight_grad = 0;
  std::map<int, std::vector<double>> inputs;  // by micro-batch

  std::vector<double> forward(int m, std::vector<double> x) {
    inputs[m] = x;
    for (double& value : x) value = weight * value + value * value / 2;
    return x;
  }
  std::vector<double> backward_input(int m, std::vector<double> dy) const {
    for (size_t i = 0; i < dy.size(); ++i) dy[i] *= weight + inputs.at(m)[i];
    return dy;
  }
  void backward_weight(int m, const std::vector<double>& dy) {
    for (size_t i = 0; i < dy.size(); ++i)
      weight_grad = 0.9 * weight_grad + dy[i] * inputs.at(m)[i];
    inputs.erase(m);
  }
};

ToyStage toy_stage(int stage) { return {.weight = 0.5 + 0.01 * stage}; }
std::vector<double> sample(int m) { return {0.1 + 0.01 * m, 0.2 - 0.003 * m, 0.05 * m}; }
std::vector<double> loss_grad(const std::vector<double>& y) {
  std::vector<double> dy = y;
  for (double& value : dy) value = std::cos(value);
  return dy;
}

// Gradients of all stages' weights and of all inputs, without a pipeline.
struct Reference {
  std::vector<double> weight_grads;
  std::vector<std::vector<double>> input_grads;  // by micro-batch
};

Reference reference(int stages, int micro_batches) {
  std::vector<ToyStage> model;
  for (int s = 0; s < stages; ++s) model.push_back(toy_stage(s));
  Reference result;
  for (int m = 0; m < micro_batches; ++m) {
    std::vector<double> x = sample(m);
    for (ToyStage& stage : model) x = stage.forward(m, x);
    std::vector<double> dy = loss_grad(x);
    for (auto stage = model.rbegin(); stage != model.rend(); ++stage) {
      const std::vector<double> dx = stage->backward_input(m, dy);
      stage->backward_weight(m, dy);
      dy = dx;
    }
    result.input_grads.push_back(dy);
  }
  for (const ToyStage& stage : model) result.weight_grads.push_back(stage.weight_grad);
  return result;
}

Tensor tensor_of(const std::vector<double>& values) {
  return Tensor::from({1, kWidth}, values, DType::kF64);
}

// One rank's stages.
class ToyModel {
 public:
  ToyModel(const Schedule& schedule, int rank) : stages_(schedule.stages()) {
    for (int s = 0; s < stages_; ++s)
      if (schedule.rank(s) == rank) model[s] = toy_stage(s);
  }

  StageFunctions functions() {
    return {.forward = [this](int stage, int m, const Tensor& x) { return forward(stage, m, x); },
            .backward = [this](int stage, int m, const Tensor& dy,
                               WeightGradQueue* queue) { return backward(stage, m, dy, queue); },
            .input_like =
                [](int, int) {
                  return Tensor::empty({1, kWidth}, DType::kF64);
                }};
  }

  std::map<int, ToyStage> model;                   // by stage
  std::map<int, std::vector<double>> input_grads;  // by micro-batch, of stage 0

 private:
  Tensor forward(int stage, int m, const Tensor& x) {
    EXPECT_EQ(x.defined(), stage > 0);
    const auto y = model.at(stage).forward(m, stage == 0 ? sample(m) : x.to_doubles());
    if (stage == stages_ - 1) outputs_[m] = y;
    return tensor_of(y);
  }
  Tensor backward(int stage, int m, const Tensor& dy_or_none, WeightGradQueue* queue) {
    EXPECT_EQ(dy_or_none.defined(), stage < stages_ - 1);
    const auto dy = stage == stages_ - 1 ? loss_grad(outputs_.at(m)) : dy_or_none.to_doubles();
    const auto dx = model.at(stage).backward_input(m, dy);
    const auto by_weight = [this, stage, m, dy] { model.at(stage).backward_weight(m, dy); };
    if (queue)
      queue->push(by_weight);
    else
      by_weight();
    if (stage == 0) input_grads[m] = dx;
    return tensor_of(dx);
  }

  int stages_;
  std::map<int, std::vector<double>> outputs_;
};

void expect_reference(const Schedule& schedule, const RunRanksOptions& options) {
  SCOPED_TRACE(concat(schedule.name, " ", schedule.ranks, " ", schedule.micro_batches));
  const Reference want = reference(schedule.stages(), schedule.micro_batches);
  run_ranks(
      schedule.ranks,
      [&](const Group& world) {
        const PipelineGroups groups = make_pipeline_groups(world, schedule);
        ToyModel toy(schedule, world.rank());
        const StageFunctions functions = toy.functions();
        const std::vector<Span> spans = run_schedule(schedule, groups, functions);
        for (const auto& [stage, model] : toy.model) {
          EXPECT_EQ(model.weight_grad, want.weight_grads[static_cast<size_t>(stage)]) << stage;
          EXPECT_TRUE(model.inputs.empty());
        }
        for (const auto& [m, dx] : toy.input_grads)
          EXPECT_EQ(dx, want.input_grads[static_cast<size_t>(m)]) << m;
        const Timeline timeline = gather_timeline(world, schedule, spans);
        for (size_t rank = 0; rank < timeline.ranks.size(); ++rank) {
          ASSERT_EQ(timeline.ranks[rank].size(), schedule.programs[rank].size());
          for (const Span& span : timeline.ranks[rank]) EXPECT_LE(span.start, span.end);
        }
      },
      options);
}

TEST(PipelineRun, ValuesAreThoseOfOneLoop) {
  for (const bool staged : {false, true}) {
    const RunRanksOptions options{.stage_everything = staged};
    for (const int ranks : {1, 2, 4}) {
      for (const int m : {3, 8}) {
        for (const char* name : {"gpipe", "1f1b", "zb_h1"})
          expect_reference(make_schedule(name, ranks, m), options);
        for (const int chunks : {2, 3})
          expect_reference(make_schedule("interleaved", ranks, m, chunks), options);
        expect_reference(make_schedule("gpipe", ranks, m, 2), options);
      }
      expect_reference(make_schedule("dualpipev", ranks, 2 * ranks + 1), options);
    }
  }
}

TEST(PipelineRun, AMessageThatNeverComesIsNamed) {
  Schedule schedule = make_schedule("1f1b", 2, 3);
  std::erase(schedule.programs[1], Action{Act::kSendBackward, 1, 2});
  try {
    run_ranks(2,
              [&](const Group& world) {
                const PipelineGroups groups = make_pipeline_groups(world, schedule);
                ToyModel toy(schedule, world.rank());
                const StageFunctions functions = toy.functions();
                run_schedule(schedule, groups, functions);
                std::this_thread::sleep_for(std::chrono::seconds(1));  // rank 1 lives on
              },
              {.deadline_seconds = 0.3});
    FAIL() << "want an error";
  } catch (const Error& error) {
    EXPECT_EQ(error.kind(), ErrorKind::kComm);
    EXPECT_THAT(error.what(), HasSubstr("backward of stage 0, micro-batch 2"));
    EXPECT_THAT(error.what(), HasSubstr("gradients from rank 1 to rank 0"));
  }
}

// Stages that sleep for what they cost.
class SleepingModel {
 public:
  explicit SleepingModel(const StageCost& seconds) : cost_(seconds) {}
  StageFunctions functions() const {
    const Tensor value = Tensor::zeros({1}, DType::kF32);
    return {.forward =
                [this, value](int, int, const Tensor&) {
                  sleep(cost_.forward);
                  return value;
                },
            .backward =
                [this, value](int, int, const Tensor&, WeightGradQueue* queue) {
                  sleep(cost_.backward_input + (queue ? 0 : cost_.backward_weight));
                  if (queue) queue->push([this] { sleep(cost_.backward_weight); });
                  return value;
                },
            .input_like = [](int, int) { return Tensor::empty({1}, DType::kF32); }};
  }

 private:
  static void sleep(double seconds) {
    std::this_thread::sleep_for(std::chrono::duration<double>(seconds));
  }
  StageCost cost_;
};

Timeline measure(const Schedule& schedule, const StageCost& cost) {
  Timeline timeline;
  run_ranks(schedule.ranks, [&](const Group& world) {
    const PipelineGroups groups = make_pipeline_groups(world, schedule);
    const SleepingModel model(cost);
    const StageFunctions functions = model.functions();
    world.barrier();
    const std::vector<Span> spans = run_schedule(schedule, groups, functions);
    const Timeline all = gather_timeline(world, schedule, spans);
    if (world.rank() == 0) timeline = all;
  });
  return timeline;
}

// Bubble shares within 5 points of the prediction.  The shortest of a few runs: other work on the
// machine makes them longer, computations included, so total time is held to less.
TEST(PipelineRun, TimesAreThoseOfTheSimulator) {
  std::map<std::string, double> shortest;
  for (const std::string& name : schedule_names()) {
    const Schedule schedule = make_schedule(name, 4, 8);
    const double unit = 0.012 / schedule.chunks;
    const StageCost cost{unit, unit, unit};
    const Timeline want = simulate(schedule, {.all = cost}).timeline;
    Timeline best;
    for (int tries = 0; tries < 10; ++tries) {
      const Timeline timeline = measure(schedule, cost);
      if (tries == 0 || timeline.total() < best.total()) best = timeline;
      if (best.total() < 1.03 * want.total()) break;
    }
    shortest[name] = best.total();
    EXPECT_NEAR(best.total() / want.total(), 1, 0.1) << name;
    EXPECT_NEAR(best.bubble_share(), want.bubble_share(), 0.05) << name;
  }
  EXPECT_LT(shortest["zb_h1"], shortest["1f1b"]);
}

}  // namespace
}  // namespace orthant::pipeline
