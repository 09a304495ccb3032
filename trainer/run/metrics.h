// SPDX-License-Identifier: Apache-2.0
// metrics.jsonl: one JSON object per optimizer step, full precision, readable while it grows.
//
// Numbers that are not finite are written as null (JSON has no other spelling) and read as NaN.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "trainer/run/append_file.h"

namespace orthant {

struct StepMetrics {
  int64_t step = 0;     // optimizer steps done, from 1
  int64_t samples = 0;  // sequences consumed since the beginning of the run
  int64_t tokens = 0;   // tokens consumed since the beginning of the run
  // lm_loss + balance_loss + model.mtp_loss_weight * mtp_loss, or what else a loop trains.
  double loss = 0;
  double lm_loss = 0;  // mean over labelled tokens, nats
  double grad_norm = 0;
  double learning_rate = 0;
  double step_ms = 0;
  double tokens_per_second = 0;
  double model_tflops = 0;  // reached by the whole job, 1e12 floating-point operations a second
  double mfu = 0;           // share of the peak, 0 to 1; 0 or NaN where the peak is unknown
  int64_t memory_peak_bytes = 0;

  // Of loops that go through a corpus: passes over the training data since the beginning of the
  // run, of several sources over the one that was passed most often.
  std::optional<double> epochs;
  // On the steps that evaluate.
  std::optional<double> validation_loss;  // language loss only
  std::optional<double> validation_bits_per_byte;
  // With multi-token prediction: over the labelled tokens, as lm_loss.
  std::optional<double> mtp_loss;
  // With experts.
  std::optional<double> balance_loss;
  std::optional<double> expert_load_max_over_mean;  // worst layer; 1 = perfectly even
  std::optional<double> expert_load_entropy;        // worst layer; 1 = perfectly even
  std::optional<double> dropped_fraction;           // of all assignments of tokens to experts
  // At the log interval, with experts: one row per MoE layer, the load of each expert divided by
  // the mean load of its layer.  Empty: not written.
  std::vector<std::vector<double>> expert_loads;
  // At the log interval: peaks over the step in bytes, as "memory_activations_bytes"; written after
  // the rest, no part of progress lines.
  std::vector<std::pair<std::string, double>> memory;
  // Further numbers of other loops (RLHF: reward_mean, kl, ...), written after the rest.
  std::vector<std::pair<std::string, double>> extra;
};

// Whether more is trained than the language loss: `lm_loss` is a part of `loss`.
bool has_other_losses(const StepMetrics& metrics);

std::string to_json_line(const StepMetrics& metrics);  // without a newline

// Every number of the line but the step and the loads, under the same names.
std::vector<std::pair<std::string, double>> scalars_of(const StepMetrics& metrics);

// Appends to one file; owned by rank 0.
class MetricsWriter {
 public:
  // Keeps the lines of steps 1 to `last_step` of a file that is there (0: begins a new file) and
  // drops everything else, by temporary file and rename.  Error(kCannotWrite) when that fails.
  MetricsWriter(const std::string& path, int64_t last_step);
  void write(const StepMetrics& metrics);
  bool healthy() const { return file_->healthy(); }

 private:
  std::unique_ptr<AppendFile> file_;
};

// Every whole line, in order; a torn or damaged line is left out.  Keys that are not known and hold
// a number land in `extra`.  Error(kMissingInput) when the file cannot be opened.
std::vector<StepMetrics> read_metrics(const std::string& path);

}  // namespace orthant
