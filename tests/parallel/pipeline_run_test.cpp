// SPDX-License-Identifier: Apache-2.0
// Schedules run by ranks that are threads: values against one loop, times against the simulator.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <chrono>
#include <map>
#include <thread>

#include "base/clock.h"
#include "base/error.h"
#include "parallel/comm/threads/run_ranks.h"
#include "parallel/pipeline/common_clock.h"
#include "parallel/pipeline/generators.h"
#include "parallel/pipeline/interpreter.h"
#include "parallel/pipeline/simulator.h"
#include "tests/parallel/toy_pipeline.h"

namespace orthant::pipeline {
namespace {

using ::testing::HasSubstr;

void expect_reference(const Schedule& schedule, const RunRanksOptions& options) {
  run_ranks(
      schedule.ranks,
      [&](const Group& world) { EXPECT_EQ(run_toy_pipeline(world, schedule, 3), ""); }, options);
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
    run_ranks(2, [&](const Group& world) {
      world.set_deadline_seconds(world.rank() == 0 ? 0.3 : 30);
      run_toy_pipeline(world, schedule, 3);
    });
    FAIL() << "want an error";
  } catch (const Error& error) {
    EXPECT_EQ(error.kind(), ErrorKind::kComm);
    EXPECT_THAT(error.what(), HasSubstr("backward of stage 0, micro-batch 2"));
    EXPECT_THAT(error.what(), HasSubstr("gradients from rank 1 to rank 0"));
  }
}

// In checked mode the next message of the channel is not taken for the one that is lost.
TEST(PipelineRun, AMessageLostInTheMiddleIsNamed) {
  Schedule schedule = make_schedule("gpipe", 2, 4);
  std::erase(schedule.programs[0], Action{Act::kSendForward, 0, 1});
  try {
    run_ranks(2, [&](const Group& world) { run_toy_pipeline(world, schedule, 3); },
              {.deadline_seconds = 20, .check_collectives = true});
    FAIL() << "want an error";
  } catch (const Error& error) {
    EXPECT_EQ(error.kind(), ErrorKind::kComm);
    EXPECT_THAT(error.what(), HasSubstr("which one it is"));
    EXPECT_THAT(error.what(), HasSubstr("(activations of stage 0, micro-batch 1)"));
    EXPECT_THAT(error.what(), HasSubstr("(activations of stage 0, micro-batch 2)"));
  }
}

// Clocks of three machines, far apart; ranks on one machine have one.
TEST(PipelineMeasured, ClocksOfMachinesAreCompared) {
  for (const bool apart : {true, false}) {
    run_ranks(3, [&](const Group& world) {
      const double ahead = 100.0 * world.rank();
      const double lead =
          clock_lead(world, {.seconds = [&] { return now_seconds() + ahead; },
                             .machine = apart ? std::to_string(world.rank()) : "one"});
      EXPECT_NEAR(lead, apart ? ahead : 0.0, 0.2) << world.rank();
    });
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
