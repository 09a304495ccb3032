// SPDX-License-Identifier: Apache-2.0
// report.html: the run on one page, with curves as inline SVG.  One file, no scripts, nothing
// loaded from elsewhere; light or dark as the reader's system is.
#pragma once

#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "trainer/run/metrics.h"
#include "trainer/run/pipeline_record.h"

namespace orthant {

struct ReportSample {
  std::string prompt;
  std::string completion;
  std::optional<std::string> before = {};  // what it was before training
};

// All texts are plain; the report escapes them.
struct ReportInput {
  std::string title;     // name of the run
  std::string subtitle;  // one line below it, for example what ran and when; may be empty
  // Rows of the summary that the caller knows: {"model", "12 layers, ..."}, {"parameters", ...},
  // {"machine", ...}.  Steps, tokens, losses and throughput are added from the metrics.
  std::vector<std::pair<std::string, std::string>> facts;
  std::vector<StepMetrics> metrics;
  std::optional<PipelineComparison> pipeline;
  std::vector<ReportSample> samples;
  std::string config_yaml;
  std::vector<std::string> next_commands;  // how to go on: resume, generate, export
};

std::string render_report(const ReportInput& input);
// Temporary file and rename.  Error(kCannotWrite).
void write_report(const std::string& path, const ReportInput& input);

}  // namespace orthant
