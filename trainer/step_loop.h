// SPDX-License-Identifier: Apache-2.0
// What the loops over steps have in common: pre-training, fine-tuning.
#pragma once

#include <atomic>
#include <functional>
#include <string>
#include <vector>

#include "base/config/config.h"
#include "data/tokenizer.h"
#include "trainer/agree.h"
#include "trainer/engine.h"
#include "trainer/generate.h"
#include "trainer/loop_report.h"
#include "trainer/run/session.h"
#include "trainer/run_config.h"

namespace orthant {

SessionOptions session_options(const RunConfig& config, const std::atomic<bool>* stop,
                               double start_seconds);

// That all ranks have one configuration; the message says which keys differ.  Collective.
template <ConfigRoot Root>
void agree_on_configuration(const std::string& yaml, const Group& world) {
  check_same_everywhere(world, "the configuration", yaml,
                        [](const std::string& theirs, const std::string& others) {
                          std::string text;
                          for (const ConfigDifference& d : differences<Root>(others, theirs))
                            text += (text.empty() ? "" : "; ") + d.text;
                          return text;
                        });
}

// MoeLayer::check_routing of every stage, told in the log.  Collective.
void check_routing(const RunConfig& config, const Role& role);
// The tokenizer's files, into the run directory; of the first rank.
void keep_tokenizer(const RunSession& session, const Tokenizer& tokenizer);

// A run under way, and what is its loop's own.
struct StepLoop {
  const RunConfig& config;
  const std::string& yaml;
  const BatchSizes& sizes;  // where the run's samples are counted from
  RunSession& session;
  Engine& engine;
  double trained_share;  // of the model's parameters

  // This rank's micro-batches of a step, from 1.
  std::function<std::vector<MicroBatch>(int64_t step)> batches;
  // Of so many samples.
  std::function<double(int64_t samples)> epochs_at;
  std::function<std::vector<SourceUse>(int64_t samples)> uses_at;
  // Sets validation numbers, at evaluation.interval and at the end; may be empty.  Collective.
  struct Verdict {
    bool is_best = false, is_done = false;  // see StepEnd
  };
  std::function<Verdict(StepMetrics& metrics)> evaluate = {};
  // More numbers of a step; may be empty.
  std::function<void(const StepResult& result, StepMetrics& metrics)> add_metrics = {};

  RunOutcome outcome = {};
};
// Steps until the session has no next one: metrics, checkpoints, the report behind each evaluation.
// Collective over the session's ranks.
void run_steps(StepLoop& loop);

// Texts of a role, in the order of what is wanted.  Collective: all ranks hold a part of the model.
std::vector<std::string> write_samples(const RunConfig& config, const Role& role,
                                       const Tokenizer& tokenizer,
                                       const std::vector<GenerateOptions>& wanted);

}  // namespace orthant
