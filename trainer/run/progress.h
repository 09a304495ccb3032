// SPDX-License-Identifier: Apache-2.0
// What the console shows while a run goes on: one line at each log interval and, on a terminal of
// rank 0, a bar below the log lines.
//
//   step 100/1000 loss 3.214 lr 3.0e-4 gnorm 0.81 lm 3.190 tok/s 8,190 TFLOP/s 0.42 MFU 6.2%
//   imbalance 1.31 mem 1.2GiB eta 0:12:31                         (one line on the console)
//
// `loss` is what training lessens: the language model's (`lm`, and `val` on held-out text) and the
// balance losses.  `epochs` comes in when the data has been passed once.
#pragma once

#include <cstdint>
#include <deque>
#include <functional>
#include <memory>
#include <string>

#include "trainer/run/metrics.h"

namespace orthant {

// "1 step", "1,234 steps".
std::string counted(int64_t number, const char* noun);
// "1,234,567"; "0:12:31" (hours may exceed 24; "-:--:--" when not finite or negative).
std::string with_thousands(int64_t value);
std::string clock_text(double seconds);
// Of a text that is prepared: "25%, 1,234,567 tokens/s"; "13%" while it is only looked through.
std::string prepare_progress_text(double fraction, double tokens_per_second);

// `eta_seconds` negative: not known yet.  Leaves out what the step does not have (MFU, imbalance).
std::string progress_line(const StepMetrics& metrics, int64_t max_steps, double eta_seconds);

// "[=====>      ] 10% step 100/1000 loss 3.214 eta 0:12:31", at most `width` characters.
std::string progress_bar(const StepMetrics& metrics, int64_t max_steps, double eta_seconds,
                         int width);

// Seconds a sample takes: the median of the recent steps, so that slow first steps are forgotten at
// once, and what pauses for evaluation and checkpoints add to it on the average, since they come
// again.
class StepTimer {
 public:
  void add(double seconds, int64_t samples);
  double remaining(int64_t samples) const;  // negative before the first add()

 private:
  std::deque<double> recent_;        // seconds a sample, by step
  double typical_ = 0;               // their median
  int64_t num_steps_ = 0;            // ever added
  double pauses_ = 0, samples_ = 0;  // seconds beyond the median, of steps with so many samples
};

struct ProgressOptions {
  int64_t max_steps = 0;
  int64_t log_interval = 1;  // also the first step of this process and the last of the run
  bool bar = true;           // logging.progress: auto; false: off or --quiet
  // Samples of the run's first n steps, where steps differ in size.
  std::function<int64_t(int64_t steps)> samples_after = [](int64_t steps) { return steps; };
};

// Made by every rank; only rank 0 prints.  The bar is drawn only when stderr is a terminal and
// NO_COLOR is unset, and disappears in the destructor.  At most one instance per process has it.
class Progress {
 public:
  explicit Progress(const ProgressOptions& options);
  ~Progress();
  Progress(const Progress&) = delete;
  Progress& operator=(const Progress&) = delete;

  void step(const StepMetrics& metrics);  // once per step

 private:
  ProgressOptions options_;
  StepTimer timer_;
  double last_call_ = -1;
  double last_draw_ = -1;
  bool owns_bar_ = false;
};

}  // namespace orthant
