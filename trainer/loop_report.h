// SPDX-License-Identifier: Apache-2.0
// What a run says of itself: at its start, on the report's page and at its end.
#pragma once

#include <optional>
#include <vector>

#include "base/ledger.h"
#include "trainer/datasets.h"
#include "trainer/run/pipeline_record.h"
#include "trainer/run/report.h"
#include "trainer/run/session.h"
#include "trainer/run_plan.h"

namespace orthant {

// Into the log, before the first step.
void describe_run(const RunPlan& plan, const RunSession& session, const Loader& loader);

struct RunOutcome {
  std::vector<MemoryPeaks> memory;  // by rank
  std::vector<SourceUse> sources;   // of the training data
  std::optional<PipelineRecord> pipeline;
  std::vector<ReportSample> samples;
  std::optional<double> bits_per_byte;  // of validation
  std::string loop = "pre-training", command = "pretrain";
  std::vector<std::pair<std::string, std::string>> facts;  // of the loop, for the summary
};
// RUN/report.html, of what there is so far.  Rank 0 alone.
void write_run_report(const RunConfig& config, const RunSession& session,
                      const std::string& config_yaml, const RunOutcome& outcome);
// Samples, memory and where the run is, into the log.  Rank 0 alone.
void log_outcome(const RunSession& session, const RunOutcome& outcome);
// The same, and the comparison with gzip.
void log_outcome(const RunConfig& config, const RunSession& session, const Datasets& data,
                 const RunOutcome& outcome);

}  // namespace orthant
