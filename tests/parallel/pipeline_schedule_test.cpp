// SPDX-License-Identifier: Apache-2.0
// Orders of pipeline schedules, their messages, the checks and the simulator.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <functional>

#include "base/error.h"
#include "parallel/pipeline/check.h"
#include "parallel/pipeline/communication.h"
#include "parallel/pipeline/drawing.h"
#include "parallel/pipeline/generators.h"
#include "parallel/pipeline/measured_costs.h"
#include "parallel/pipeline/simulator.h"

namespace orthant::pipeline {
namespace {

using ::testing::HasSubstr;

constexpr double kTolerance = 1e-9;
const StageCost kCosts[] = {{1, 1, 1}, {1, 2, 1}, {2, 1, 1}, {3, 4, 3}, {1, 1, 2}};

double sum(const StageCost& c) { return c.forward + c.backward_input + c.backward_weight; }

// Which sizes a schedule takes: all others must be refused.
bool fits(const std::string& name, int ranks, int micro_batches, int chunks) {
  if (name == "gpipe") return true;
  if (name == "interleaved") return chunks >= 2;
  if (name == "dualpipev") return chunks == 2 && micro_batches >= 2 * ranks;
  return chunks == 1;
}

class AllSizes : public ::testing::TestWithParam<std::string> {};

// Complete (make_schedule checks), free of deadlock, and no longer than GPipe with one chunk.
TEST_P(AllSizes, RunToTheEndAndNoLongerThanGpipe) {
  for (int ranks = 1; ranks <= 16; ++ranks) {
    for (int m = 1; m <= 64; ++m) {
      for (int chunks = 1; chunks <= 4; ++chunks) {
        const std::string what =
            concat(GetParam(), " ", ranks, " ranks ", m, " micro-batches ", chunks, " chunks");
        if (!fits(GetParam(), ranks, m, chunks)) {
          EXPECT_THROW(generate_schedule(GetParam(), ranks, m, chunks), Error) << what;
          continue;
        }
        const Schedule schedule = make_schedule(GetParam(), ranks, m, chunks);
        for (const StageCost& cost : {kCosts[0], kCosts[1], kCosts[4]}) {
          const Simulation run = simulate(schedule, {.all = cost});
          ASSERT_EQ(run.deadlock, "") << what;
          ASSERT_LE(run.timeline.total(), (m + ranks - 1) * chunks * sum(cost) + kTolerance)
              << what << ", B " << cost.backward_input << " W " << cost.backward_weight;
        }
      }
    }
  }
}

INSTANTIATE_TEST_SUITE_P(Pipeline, AllSizes, ::testing::ValuesIn(schedule_names()),
                         [](const auto& info) { return "_" + info.param; });

// On every rank the bubble that the formula gives, and no more than so many activations of a
// stage.
void expect_bubble(const Schedule& schedule, const StageCost& cost, double bubble,
                   const std::function<int(int rank)>& activations) {
  const Simulation run = simulate(schedule, {.all = cost});
  for (int rank = 0; rank < schedule.ranks; ++rank) {
    const std::string what =
        concat(schedule.name, " ", schedule.ranks, " ranks ", schedule.micro_batches,
               " micro-batches ", schedule.chunks, " chunks F ", cost.forward, " B ",
               cost.backward_input, " W ", cost.backward_weight, " rank ", rank);
    ASSERT_NEAR(run.timeline.bubble(rank), bubble, kTolerance) << what;
    ASSERT_EQ(peak_load(schedule.programs[static_cast<size_t>(rank)]).activations,
              activations(rank))
        << what;
  }
}

void for_sizes(const std::function<void(int p, int m, const StageCost&)>& body) {
  for (int p : {1, 2, 3, 4, 7, 8, 16})
    for (int m : {1, 2, 3, 4, 5, 8, 15, 16, 17, 32, 48, 64})
      for (const StageCost& cost : kCosts) body(p, m, cost);
}

// Any sizes, any costs that are the same for all stages.
TEST(PipelineFormula, GpipeAndOneForwardOneBackward) {
  for_sizes([](int p, int m, const StageCost& cost) {
    const double bubble = (p - 1) * sum(cost);
    expect_bubble(make_schedule("gpipe", p, m), cost, bubble, [&](int) { return m; });
    expect_bubble(make_schedule("1f1b", p, m), cost, bubble,
                  [&](int rank) { return std::min(p - rank, m); });
  });
}

// Ranks divide the micro-batches.  A stage costs 1/chunks of what a rank without chunks has, so
// the bubble is 1/chunks of GPipe's.
TEST(PipelineFormula, Interleaved) {
  for_sizes([](int p, int m, const StageCost& cost) {
    if (m % p != 0) return;
    for (int v = 2; v <= 4; ++v) {
      expect_bubble(
          make_schedule("interleaved", p, m, v), cost, (p - 1) * sum(cost),
          [&](int rank) { return std::min(m * v, 2 * (p - rank - 1) + (v - 1) * p + 1); });
    }
  });
}

// As many micro-batches as ranks, and W no longer than F and B; else a rank waits for the longer
// of F and B in place of F + B - W.
TEST(PipelineFormula, ZeroBubbleH1) {
  for_sizes([](int p, int m, const StageCost& c) {
    if (m < p) return;
    const double gap =
        std::max({c.forward + c.backward_input - c.backward_weight, c.forward, c.backward_input});
    const Schedule schedule = make_schedule("zb_h1", p, m);
    expect_bubble(schedule, c, (p - 1) * gap, [&](int) { return p; });
    for (int rank = 0; rank < p; ++rank)
      ASSERT_EQ(peak_load(schedule.programs[static_cast<size_t>(rank)]).weights_late, rank + 1);
  });
}

// W no longer than B, B no longer than F.
TEST(PipelineFormula, DualPipeV) {
  for_sizes([](int p, int m, const StageCost& c) {
    if (m < 2 * p || c.backward_weight > c.backward_input || c.backward_input > c.forward) return;
    expect_bubble(make_schedule("dualpipev", p, m), c,
                  (p - 1) * (c.forward + c.backward_input - c.backward_weight),
                  [&](int) { return 2 * p + 1; });
  });
}

// All stage maps: complete (checked when made), free of deadlock, and no more idle time than
// documented where groups are full.
TEST(PipelineForward, EveryMapRunsWithoutBackward) {
  for (const std::string& name : schedule_names()) {
    for (const int p : {1, 2, 3, 4, 8}) {
      for (const int chunks : {1, 2, 3, 4}) {
        const int some = 2 * p;
        if (!fits(name, p, some, chunks)) continue;
        const Schedule like = make_schedule(name, p, some, chunks);
        for (const int m : {0, 1, 2, 3, 5, 8, 16, 17, 24}) {
          const Schedule schedule = make_forward_schedule(like, m);
          EXPECT_EQ(schedule.rank_of, like.rank_of);
          const Simulation run = simulate(schedule, {.all = kCosts[0]});
          const std::string what = concat(name, " ", p, " ranks ", m, " chunks ", chunks);
          ASSERT_EQ(run.deadlock, "") << what;
          const bool folds = name == "dualpipev";
          if (m == 0 || (chunks > 1 && !folds && m % p != 0)) continue;
          for (int rank = 0; rank < p; ++rank)
            ASSERT_NEAR(run.timeline.bubble(rank), (folds ? 2 : 1) * (p - 1), kTolerance) << what;
        }
      }
    }
  }
}

TEST(PipelineForward, NamesWhatIsWrong) {
  const auto fault = [](const Schedule& schedule) -> std::string {
    try {
      check_schedule(schedule, Pass::kForward);
    } catch (const Error& error) {
      return error.what();
    }
    return "";
  };
  const Schedule whole = make_schedule("1f1b", 2, 2), forward = make_forward_schedule(whole, 2);
  EXPECT_EQ(fault(forward), "");
  EXPECT_THAT(fault(whole), HasSubstr("want forwards and their messages alone"));
  EXPECT_THROW(check_schedule(forward), Error);  // no backward: not for training
  Schedule stray = forward;
  stray.programs[0].push_back({Act::kRecvBackward, 0, 0});
  EXPECT_THAT(fault(stray), HasSubstr("want forwards and their messages alone"));
  Schedule short_of_one = forward;
  std::erase(short_of_one.programs[1], Action{Act::kForward, 1, 1});
  EXPECT_THAT(fault(short_of_one), HasSubstr("no forward of stage 1, micro-batch 1"));
  Schedule lost = forward;
  std::erase(lost.programs[0], Action{Act::kSendForward, 0, 1});
  EXPECT_THAT(fault(lost), HasSubstr("activations of stage 0, micro-batch 1 is received"));
}

TEST(PipelineSchedule, RefusalsSayWhatFits) {
  const auto refusal = [](const std::string& name, int ranks, int m, int chunks) -> std::string {
    try {
      generate_schedule(name, ranks, m, chunks);
    } catch (const Error& error) {
      EXPECT_EQ(error.kind(), ErrorKind::kConfig);
      return error.what();
    }
    return "";
  };
  EXPECT_THAT(refusal("pipedream", 2, 2, 1), HasSubstr("1f1b, interleaved"));
  EXPECT_THAT(refusal("dualpipev", 4, 7, 2), HasSubstr("at least 8 micro-batches"));
  EXPECT_THAT(refusal("interleaved", 4, 8, 1), HasSubstr("at least 2 chunks"));
  EXPECT_THAT(refusal("zb_h1", 4, 8, 2), HasSubstr("1 chunk"));
  EXPECT_THAT(refusal("1f1b", 0, 8, 1), HasSubstr("1 rank"));
}

// The order of the first micro-batches through the chunks, as the paper draws it (figure 4).
TEST(PipelineSchedule, InterleavedTakesGroupsThroughTheChunks) {
  const Schedule schedule = generate_schedule("interleaved", 2, 4, 2);
  std::string order;
  for (const Action& action : schedule.programs[0])
    order += concat(action.act == Act::kForward ? "F" : "B", action.stage, action.micro_batch, " ");
  EXPECT_EQ(order, "F00 F01 F20 F21 F02 B20 F03 B21 F22 B00 F23 B01 B22 B23 B02 B03 ");
}

TEST(PipelineCommunication, ReceivesArePostedOneComputationAhead) {
  const Schedule schedule = make_schedule("1f1b", 2, 2);
  std::string order;
  for (const Action& action : schedule.programs[1]) order += text_of(action) + "; ";
  EXPECT_EQ(order,
            "recv_forward of stage 1, micro-batch 0; forward of stage 1, micro-batch 0; "
            "recv_forward of stage 1, micro-batch 1; backward of stage 1, micro-batch 0; "
            "send_backward of stage 1, micro-batch 0; forward of stage 1, micro-batch 1; "
            "backward of stage 1, micro-batch 1; send_backward of stage 1, micro-batch 1; ");
  EXPECT_EQ(channels_of(schedule).size(), 2u);
  EXPECT_EQ(channels_of(make_schedule("dualpipev", 2, 4)).size(), 4u);
}

// The receiver wants 2, 1, 0: all receives are posted before its first computation, 0 first.
TEST(PipelineCommunication, ReceivesFollowTheOrderOfTheSends) {
  Schedule schedule = generate_schedule("gpipe", 2, 3);
  std::swap(schedule.programs[1][0], schedule.programs[1][2]);
  schedule = insert_communication(schedule);
  check_schedule(schedule);
  for (int m = 0; m < 3; ++m)
    EXPECT_EQ(schedule.programs[1][static_cast<size_t>(m)], (Action{Act::kRecvForward, 1, m}));
  EXPECT_EQ(simulate(schedule, {}).deadlock, "");
}

// A schedule, damaged; what the check says of it.
std::string complaint(const std::string& name, const std::function<void(Schedule&)>& damage) {
  Schedule schedule = make_schedule(name, 2, 4);
  damage(schedule);
  try {
    check_schedule(schedule);
  } catch (const Error& error) {
    EXPECT_EQ(error.kind(), ErrorKind::kInternal);
    return error.what();
  }
  return "";
}

size_t find(const Schedule& schedule, int rank, const Action& action) {
  const Program& program = schedule.programs[static_cast<size_t>(rank)];
  const auto at = std::find(program.begin(), program.end(), action);
  EXPECT_NE(at, program.end()) << text_of(action);
  return static_cast<size_t>(at - program.begin());
}

void erase(Schedule& schedule, int rank, const Action& action) {
  Program& program = schedule.programs[static_cast<size_t>(rank)];
  program.erase(program.begin() + static_cast<std::ptrdiff_t>(find(schedule, rank, action)));
}

void swap(Schedule& schedule, int rank, const Action& a, const Action& b) {
  Program& program = schedule.programs[static_cast<size_t>(rank)];
  std::swap(program[find(schedule, rank, a)], program[find(schedule, rank, b)]);
}

TEST(PipelineCheck, NamesWhatIsWrong) {
  EXPECT_EQ(complaint("zb_h1", [](Schedule&) {}), "");
  EXPECT_THAT(complaint("gpipe",
                        [](Schedule& s) {
                          erase(s, 0, {Act::kBackward, 0, 3});
                        }),
              HasSubstr("no backward_weight of stage 0, micro-batch 3"));
  EXPECT_THAT(
      complaint("gpipe",
                [](Schedule& s) {
                  erase(s, 1, {Act::kRecvForward, 1, 2});
                }),
      HasSubstr("rank 1, action 5 (forward of stage 1, micro-batch 2): want the activations "
                "of stage 0, micro-batch 2 to be received"));
  EXPECT_THAT(
      complaint("gpipe",
                [](Schedule& s) {
                  erase(s, 0, {Act::kSendForward, 0, 3});
                }),
      HasSubstr("message 3: nothing is sent, activations of stage 0, micro-batch 3 is received"));
  EXPECT_THAT(complaint("gpipe",
                        [](Schedule& s) {
                          swap(s, 1, {Act::kRecvForward, 1, 0}, {Act::kRecvForward, 1, 1});
                          swap(s, 1, {Act::kForward, 1, 0}, {Act::kForward, 1, 1});
                        }),
              HasSubstr("activations from rank 0 to rank 1, message 0"));
  EXPECT_THAT(complaint("zb_h1",
                        [](Schedule& s) {
                          swap(s, 1, {Act::kBackwardInput, 1, 3}, {Act::kBackwardWeight, 1, 3});
                        }),
              HasSubstr("want its backward_input before it"));
  EXPECT_THAT(complaint("gpipe",
                        [](Schedule& s) {
                          swap(s, 1, {Act::kBackward, 1, 0}, {Act::kBackward, 1, 1});
                        }),
              HasSubstr("ascending"));
  EXPECT_THAT(complaint("gpipe",
                        [](Schedule& s) {
                          s.programs[0].push_back({Act::kForward, 0, 0});
                        }),
              HasSubstr("there twice"));
  EXPECT_THAT(complaint("gpipe",
                        [](Schedule& s) {
                          s.programs[0].push_back({Act::kForward, 1, 0});
                        }),
              HasSubstr("the stage is rank 1's"));
  EXPECT_THAT(complaint("zb_h1",
                        [](Schedule& s) {
                          s.programs[0].push_back({Act::kBackward, 0, 0});
                        }),
              HasSubstr("want one backward"));
  EXPECT_THAT(complaint("dualpipev",
                        [](Schedule& s) {
                          s.programs[1].push_back({Act::kSendForward, 1, 0});
                        }),
              HasSubstr("want no message"));
  EXPECT_THAT(complaint("dualpipev",
                        [](Schedule& s) {
                          swap(s, 1, {Act::kForward, 1, 0}, {Act::kForward, 2, 0});
                        }),
              HasSubstr("made before, on this rank"));
  EXPECT_THAT(complaint("gpipe",
                        [](Schedule& s) {
                          swap(s, 0, {Act::kForward, 0, 0}, {Act::kSendForward, 0, 0});
                        }),
              HasSubstr("made before it is sent"));
}

TEST(PipelineSimulator, TransfersTakeTimeAndOverlap) {
  // Rank 0: F 0-2, 2-4.  The first message arrives at 5; the second is sent at 4 and travels from 5
  // to 8, since a channel carries one at a time.
  const Simulation run = simulate(make_schedule("gpipe", 2, 2), {.all = {2, 1, 1}, .transfer = 3});
  EXPECT_EQ(run.deadlock, "");
  const auto& spans = run.timeline.ranks[1];
  const auto at = [&](Act act, int m) {
    return *std::find_if(spans.begin(), spans.end(), [&](const Span& s) {
      return s.action == Action{act, 1, m};
    });
  };
  EXPECT_EQ(at(Act::kForward, 0).start, 5);
  EXPECT_EQ(at(Act::kRecvForward, 1).end, 8);
  EXPECT_EQ(at(Act::kForward, 1).start, 8);
  EXPECT_EQ(at(Act::kBackward, 1).end, 14);
  EXPECT_EQ(run.timeline.total(), 20);  // the last gradient arrives at 18
}

// Rank 1 is busy from 4 to 9.  Message 1, sent at 2, waits for its receive until then, or has come
// meanwhile; the same again for the second gradient.
TEST(PipelineSimulator, AMessageWaitsForItsReceive) {
  const Costs costs{.by_stage = {{1, 1, 1}, {5, 1, 1}}, .transfer = 3};
  const Schedule order = generate_schedule("gpipe", 2, 2);
  const auto total = [&](int ahead) {
    return simulate(insert_communication(order, ahead), costs).timeline.total();
  };
  EXPECT_EQ(total(0), 29);
  EXPECT_EQ(total(1), 24);
}

TEST(PipelineSimulator, StagesMayDiffer) {
  const Costs costs{.by_stage = {{1, 1, 1}, {5, 1, 1}}};
  EXPECT_EQ(simulate(make_schedule("gpipe", 2, 3), costs).timeline.total(), 1 + 15 + 6 + 2);
}

// Rank 0 wants the gradients of micro-batch 0 before it makes activations 1, rank 1 the other way.
// What was predicted, taken for measured, predicts itself: stages that differ, and both kinds of
// backward where a schedule has them.
TEST(PipelineMeasured, MeanCostsPredictTheSame) {
  for (const std::string& name : schedule_names()) {
    const Schedule schedule = make_schedule(name, 3, 7);
    Costs costs;
    for (int s = 0; s < schedule.stages(); ++s)
      costs.by_stage.push_back({1.0 + s, 2.0, 0.5 * s, 2.25 + 0.5 * s});
    const Timeline want = simulate(schedule, costs).timeline;
    const Timeline got = simulate(schedule, mean_costs(schedule, want)).timeline;
    EXPECT_NEAR(got.total(), want.total(), kTolerance) << name;
    for (int rank = 0; rank < 3; ++rank)
      EXPECT_NEAR(got.bubble(rank), want.bubble(rank), kTolerance) << name;
  }
}

TEST(PipelineSimulator, NamesRanksThatWaitForEachOther) {
  Schedule schedule = generate_schedule("gpipe", 2, 2);
  std::swap(schedule.programs[0][1], schedule.programs[0][2]);
  schedule = insert_communication(schedule);
  check_schedule(schedule);
  const std::string deadlock = simulate(schedule, {}).deadlock;
  EXPECT_THAT(deadlock, HasSubstr("rank 0, action 3 (backward of stage 0, micro-batch 0) waits for "
                                  "the gradients of stage 1, micro-batch 0 from rank 1"));
  EXPECT_THAT(deadlock, HasSubstr("rank 1"));
  EXPECT_THAT(deadlock,
              HasSubstr("waits for the activations of stage 0, micro-batch 1 from rank 0"));
}

TEST(PipelineSimulator, ChannelsAreInOrder) {
  Schedule schedule = make_schedule("gpipe", 2, 2);
  swap(schedule, 0, {Act::kSendForward, 0, 0}, {Act::kSendForward, 0, 1});
  EXPECT_THAT(
      simulate(schedule, {}).deadlock,
      HasSubstr("(send_forward of stage 0, micro-batch 1) meets gpipe, pipeline rank 1, action 0 "
                "(recv_forward of stage 1, micro-batch 0)"));
  schedule = make_schedule("gpipe", 2, 2);
  schedule.programs[1].push_back({Act::kRecvForward, 1, 1});
  EXPECT_THAT(simulate(schedule, {}).deadlock, HasSubstr("finds no other end"));
}

TEST(PipelineDrawing, ShowsTimeToTheRight) {
  const Timeline timeline = simulate(make_schedule("zb_h1", 2, 3), {}).timeline;
  EXPECT_EQ(timeline_text({{"zb_h1", timeline}}, 40),
            "zb_h1: 10, bubble 10.0 %\n"
            "rank 0   F0-F1-...B0-W0-F2-B1-W1-B2-W2-\n"
            "rank 1   ...F0-B0-F1-B1-W0-F2-B2-W1-W2-\n");
  EXPECT_THAT(timeline_text({{"small", timeline}}, 19), HasSubstr("FF.BWFBWBW\n"));
  const Timeline chunks = simulate(make_schedule("gpipe", 1, 1, 2), {}).timeline;
  EXPECT_THAT(timeline_text({{"a", chunks}, {"b", chunks}}, 30),
              HasSubstr("F0-f0-b0----B0----\nb: 6, bubble 0.0 %\n"));
  const std::string svg = timeline_svg({{"predicted", timeline}, {"measured", timeline}});
  EXPECT_THAT(svg, HasSubstr("measured: 10"));
  EXPECT_THAT(svg, HasSubstr("<title>W2 9-10</title>"));
}

}  // namespace
}  // namespace orthant::pipeline
