// SPDX-License-Identifier: Apache-2.0
// RUN/pipeline.json: what the ranks of a pipeline did in one training step, and when; beside it,
// what its schedule would do at the same costs.
#pragma once

#include <string>
#include <vector>

#include "parallel/pipeline/drawing.h"
#include "parallel/pipeline/schedule.h"
#include "parallel/pipeline/timeline.h"

namespace orthant {

struct PipelineRecord {
  int64_t step = 0;
  pipeline::Schedule schedule;
  pipeline::Timeline timeline;  // seconds since the step's first action
};

std::string to_json(const PipelineRecord& record);
// Error(kMissingInput) without the file, Error(kData) naming what in it is no record.
PipelineRecord read_pipeline_record(const std::string& path);

// A record beside its prediction, which takes the mean cost of each stage's computations.
struct PipelineComparison {
  std::vector<pipeline::NamedTimeline> timelines;    // the prediction, below it the measurement
  double predicted_bubble = 0, measured_bubble = 0;  // shares of the ranks' time
  std::string text() const;  // "bubble: predicted 27.3 %, measured 29.0 %: 1.7 points apart"
};
PipelineComparison compare_with_prediction(const PipelineRecord& record);

}  // namespace orthant
