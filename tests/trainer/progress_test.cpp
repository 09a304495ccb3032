// SPDX-License-Identifier: Apache-2.0
#include "trainer/run/progress.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <poll.h>
#include <stdlib.h>
#include <unistd.h>

#include <array>
#include <cmath>
#include <functional>
#include <limits>

#include "base/context.h"
#include "base/log.h"

namespace orthant {
namespace {

StepMetrics sample() {
  StepMetrics m{.step = 100, .loss = 3.2141, .lm_loss = 3.2141, .grad_norm = 0.814};
  m.learning_rate = 3e-4;
  m.step_ms = 500;
  m.tokens_per_second = 8190.4;
  m.model_tflops = 0.42;
  m.mfu = 0.062;
  m.memory_peak_bytes = 1288490188;
  m.expert_load_max_over_mean = 1.312;
  return m;
}

TEST(ProgressText, LineShowsEverythingThatTheStepHas) {
  EXPECT_EQ(progress_line(sample(), 1000, 751),
            "step 100/1000 loss 3.214 lr 3.0e-4 gnorm 0.81 tok/s 8,190 TFLOP/s 0.42 MFU 6.2% "
            "imbalance 1.31 mem 1.2GiB eta 0:12:31");
  StepMetrics m = sample();
  m.mfu = std::nan("");
  m.model_tflops = 0.0123;
  m.expert_load_max_over_mean.reset();
  m.validation_loss = 3.5;
  m.memory_peak_bytes = 30 << 20;
  m.extra = {{"kl", 0.0123456}};
  m.epochs = 1.0;    // the first pass is not over: not told
  m.lm_loss = 3.19;  // told where it is not the loss
  m.balance_loss = 0.0241;
  EXPECT_EQ(
      progress_line(m, 1000, -1),
      "step 100/1000 loss 3.214 lr 3.0e-4 gnorm 0.81 lm 3.190 val 3.500 tok/s 8,190 GFLOP/s 12.30 "
      "kl 0.01235 mem 30MiB eta -:--:--");
  m = sample();
  m.lm_loss = 2.5;  // a teacher's is the rest
  EXPECT_NE(progress_line(m, 1000, 751).find(" gnorm 0.81 lm 2.500 tok/s "), std::string::npos);
  m = sample();
  m.epochs = 2.3071;
  EXPECT_NE(progress_line(m, 1000, 751).find(" gnorm 0.81 epochs 2.31 tok/s "), std::string::npos);
}

TEST(ProgressText, ClockAndThousands) {
  EXPECT_EQ(clock_text(0), "0:00:00");
  EXPECT_EQ(clock_text(59.6), "0:01:00");
  EXPECT_EQ(clock_text(100 * 3600 + 61), "100:01:01");
  EXPECT_EQ(clock_text(std::nan("")), "-:--:--");
  EXPECT_EQ(clock_text(std::numeric_limits<double>::infinity()), "-:--:--");
  EXPECT_EQ(with_thousands(0), "0");
  EXPECT_EQ(with_thousands(999), "999");
  EXPECT_EQ(with_thousands(1000), "1,000");
  EXPECT_EQ(with_thousands(-1234567), "-1,234,567");
  EXPECT_EQ(counted(1, "step"), "1 step");
  EXPECT_EQ(counted(0, "step"), "0 steps");
  EXPECT_EQ(counted(1234, "step"), "1,234 steps");
  EXPECT_EQ(prepare_progress_text(0.136, 0), "13%");
  EXPECT_EQ(prepare_progress_text(0.5, 1234567.8), "50%, 1,234,568 tokens/s");
}

TEST(ProgressText, BarFitsTheWidth) {
  EXPECT_EQ(progress_bar(sample(), 400, 61, 65),
            "[=====>                ]  25% step 100/400 loss 3.214 eta 0:01:01");
  for (const int width : {0, 1, 20, 50, 60, 79, 200}) {
    EXPECT_LE(progress_bar(sample(), 400, 61, width).size(), static_cast<size_t>(width));
  }
  EXPECT_NE(progress_bar(sample(), 100, 0, 80).find("] 100%"), std::string::npos);
}

TEST(StepTimer, FollowsThePresentSpeed) {
  StepTimer timer;
  EXPECT_LT(timer.remaining(10), 0);
  timer.add(5.0, 1);
  EXPECT_DOUBLE_EQ(timer.remaining(10), 50.0);
  for (int i = 0; i < 200; ++i) timer.add(4.0, 4);
  EXPECT_NEAR(timer.remaining(10), 10.0, 0.01);
  EXPECT_EQ(timer.remaining(-3), 0.0);
}

TEST(StepTimer, ForgetsSlowFirstSteps) {
  StepTimer timer;
  timer.add(60.0, 8);  // page faults, packing, a cold file cache
  timer.add(8.0, 8);
  EXPECT_DOUBLE_EQ(timer.remaining(800), 800.0);
  for (int i = 0; i < 3; ++i) timer.add(8.0, 8);
  EXPECT_DOUBLE_EQ(timer.remaining(800), 800.0);
  StepTimer second;  // an allocator that settles is no pause that comes again
  for (const double seconds : {1.0, 20.0, 1.0, 1.0}) second.add(seconds, 1);
  EXPECT_DOUBLE_EQ(second.remaining(100), 100.0);
  StepTimer slow_start;
  for (const double seconds : {40.0, 30.0, 20.0}) slow_start.add(seconds, 8);
  for (int i = 0; i < 4; ++i) slow_start.add(8.0, 8);
  EXPECT_LT(slow_start.remaining(800), 2500.0);
  for (int i = 0; i < 30; ++i) slow_start.add(8.0, 8);
  EXPECT_NEAR(slow_start.remaining(800), 800.0, 80.0);
}

TEST(StepTimer, CountsThePausesThatComeAgain) {
  StepTimer timer;
  for (int step = 1; step <= 400; ++step) timer.add(step % 20 == 0 ? 11.0 : 1.0, 1);
  EXPECT_NEAR(timer.remaining(1000), 1500.0, 15.0);
}

TEST(Progress, PlainLinesAtTheIntervalWithoutATerminal) {
  testing::internal::CaptureStderr();
  {
    Progress progress({.max_steps = 7, .log_interval = 3});
    for (int64_t step = 1; step <= 7; ++step) {
      StepMetrics m = sample();
      m.step = step;
      progress.step(m);
    }
  }
  const std::string text = testing::internal::GetCapturedStderr();
  for (const int64_t step : {1, 3, 6, 7}) {
    EXPECT_NE(text.find(concat("step ", step, "/7 ")), std::string::npos) << text;
  }
  EXPECT_EQ(text.find("step 2/7 "), std::string::npos) << text;
  EXPECT_EQ(text.find('\x1b'), std::string::npos);
}

// What a terminal of this process would have received while `action` ran.
std::string on_terminal(const std::function<void()>& action) {
  const int master = posix_openpt(O_RDWR | O_NOCTTY);
  if (master < 0 || grantpt(master) != 0 || unlockpt(master) != 0) return "(no terminal)";
  const int terminal = open(ptsname(master), O_RDWR | O_NOCTTY);
  const int saved = dup(STDERR_FILENO);
  dup2(terminal, STDERR_FILENO);
  action();
  dup2(saved, STDERR_FILENO);
  std::string text;
  pollfd ready{master, POLLIN, 0};
  std::array<char, 4096> buffer;
  while (poll(&ready, 1, 50) > 0 && (ready.revents & POLLIN)) {
    const ssize_t got = read(master, buffer.data(), buffer.size());
    if (got <= 0) break;
    text.append(buffer.data(), static_cast<size_t>(got));
  }
  close(terminal);
  close(saved);
  close(master);
  return text;
}

void three_steps(bool bar) {
  Progress progress({.max_steps = 3, .log_interval = 100, .bar = bar});
  for (int64_t step = 1; step <= 3; ++step) {
    StepMetrics m = sample();
    m.step = step;
    progress.step(m);
    if (step == 2) log::info("a line between");
  }
}

TEST(Progress, BarOnATerminalGivesWayToLogLines) {
  unsetenv("NO_COLOR");
  setenv("TERM", "xterm", 1);
  const std::string text = on_terminal([] { three_steps(true); });
  if (text == "(no terminal)") GTEST_SKIP() << "no pseudo terminal here";
  const std::string clear = "\r\x1b[K";
  EXPECT_NE(text.find(clear + "[="), std::string::npos) << text;
  EXPECT_NE(text.find(clear + "a line between\r\n["), std::string::npos) << text;
  EXPECT_TRUE(text.ends_with(clear)) << text;
}

TEST(Progress, NoBarWithNoColorQuietOrAnotherRank) {
  setenv("TERM", "xterm", 1);
  setenv("NO_COLOR", "1", 1);
  EXPECT_EQ(on_terminal([] { three_steps(true); }).find('\x1b'), std::string::npos);
  unsetenv("NO_COLOR");
  EXPECT_EQ(on_terminal([] { three_steps(false); }).find('\x1b'), std::string::npos);
  RankContext other{.rank = 1, .world_size = 2};
  const ContextScope scope(other);
  const std::string text = on_terminal([] { three_steps(true); });
  EXPECT_TRUE(text.empty() || text == "(no terminal)") << text;
}

}  // namespace
}  // namespace orthant
