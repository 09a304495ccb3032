// SPDX-License-Identifier: Apache-2.0
#include <cstdio>
#include <filesystem>
#include <fstream>
#include <memory>

#include "base/error.h"
#include "launch/command.h"
#include "parallel/pipeline/drawing.h"
#include "parallel/pipeline/generators.h"
#include "parallel/pipeline/simulator.h"
#include "trainer/run/pipeline_record.h"
#include "trainer/run/run_dir.h"

namespace orthant {
namespace {

using namespace pipeline;

struct InspectSchedule {
  std::vector<std::string> names;  // drawn one above the other
  int64_t ranks = 4, micro_batches = 8, chunks = 0, columns = 100;
  // Forward, backward by the input, by the weights[, transfer].
  std::vector<double> costs = {1, 1, 1};
  std::string svg;
};

// Costs are of a rank's whole share of the model, so that schedules can be compared.
Costs stage_costs(const InspectSchedule& command, int chunks) {
  const std::vector<double>& costs = command.costs;
  ORTHANT_CHECK(costs.size() == 3 || costs.size() == 4, kUsage,
                "inspect schedule: --costs: want forward,backward,weights[,transfer], got ",
                costs.size(), " numbers");
  for (const double cost : costs)
    ORTHANT_CHECK(cost >= 0, kUsage, "inspect schedule: --costs: want none below 0, got ", cost);
  ORTHANT_CHECK(costs[0] + costs[1] + costs[2] > 0, kUsage,
                "inspect schedule: --costs: want one above 0");
  return {.all = {costs[0] / chunks, costs[1] / chunks, costs[2] / chunks},
          .transfer = costs.size() == 4 ? costs[3] : 0};
}

void print_loads(const std::string& name, const Schedule& schedule, const Timeline& timeline) {
  std::printf("%s\nrank       busy     bubble     share  activations  weights late\n",
              name.c_str());
  for (int rank = 0; rank < schedule.ranks; ++rank) {
    const PeakLoad peak = peak_load(schedule.programs[static_cast<size_t>(rank)]);
    const double bubble = timeline.bubble(rank), chunks = schedule.chunks;
    std::printf("%-4d %10.4g %10.4g %8.1f%% %12.4g %13.4g\n", rank, timeline.busy(rank), bubble,
                100 * bubble / timeline.total(), peak.activations / chunks,
                peak.weights_late / chunks);
  }
}

// What is drawn, one above the other.
struct Picture {
  std::vector<Schedule> schedules;
  std::vector<NamedTimeline> timelines;
  std::string below;  // a line of text for each run
};

void add_predicted(const InspectSchedule& command, const std::string& name, Picture& picture) {
  const Schedule& schedule = picture.schedules.emplace_back(
      make_schedule(name, static_cast<int>(command.ranks), static_cast<int>(command.micro_batches),
                    static_cast<int>(command.chunks)));
  const Simulation run = simulate(schedule, stage_costs(command, schedule.chunks));
  ORTHANT_CHECK(run.deadlock.empty(), kInternal, name, ": deadlock\n", run.deadlock);
  picture.timelines.push_back({name, run.timeline});
}

void add_measured(const std::string& run_dir, Picture& picture) {
  const PipelineRecord record = read_pipeline_record(RunPaths{run_dir}.pipeline());
  const PipelineComparison comparison = compare_with_prediction(record);
  for (const NamedTimeline& timeline : comparison.timelines) {
    picture.schedules.push_back(record.schedule);
    picture.timelines.push_back(timeline);
  }
  picture.below += concat("\n", run_dir, ": ", comparison.text(), "\n");
}

int run(const InspectSchedule& command) {
  Picture picture;
  size_t runs = 0;
  for (const std::string& name : command.names) {
    const bool is_run = std::filesystem::is_directory(name);
    ORTHANT_CHECK(is_run || name.find('/') == std::string::npos, kMissingInput,
                  "inspect schedule: ", name, ": no such run directory");
    runs += is_run;
    is_run ? add_measured(name, picture) : add_predicted(command, name, picture);
  }
  ORTHANT_CHECK(runs == 0 || runs == command.names.size(), kUsage,
                "inspect schedule: want schedules or run directories, got both; their times have "
                "no common scale");
  std::fputs(timeline_text(picture.timelines, static_cast<int>(command.columns)).c_str(), stdout);
  for (size_t i = 0; i < picture.schedules.size(); ++i) {
    std::fputs("\n", stdout);
    print_loads(picture.timelines[i].name, picture.schedules[i], picture.timelines[i].timeline);
  }
  std::fputs(picture.below.c_str(), stdout);
  if (command.svg.empty()) return 0;
  std::ofstream file(command.svg);
  file << timeline_svg(picture.timelines);
  file.close();
  ORTHANT_CHECK(file.good(), kCannotWrite, "inspect schedule: cannot write ", command.svg);
  return 0;
}

}  // namespace

Command inspect_schedule_command() {
  return {
      .name = "inspect schedule",
      .help = "timeline, bubble and activations of pipeline schedules and runs",
      .footer =
          "orthant inspect schedule 1f1b zb_h1 --ranks 4 --micro-batches 8 --svg schedules.svg\n"
          "F3 forward of micro-batch 3, B3 backward (by the input alone where a W3 follows), W3 by "
          "the weights;\nsmall letters: chunks above the first; dots: idle.  Activations and "
          "weights put off count micro-batches in\nall stages of a rank.  docs/pipeline.md.",
      .declare = [](Options& o) {
        const auto c = std::make_shared<InspectSchedule>();
        o.texts("names", c->names, required_text(),
                "gpipe, 1f1b, interleaved, zb_h1, dualpipev; or run directories, for what was "
                "measured below what was predicted; several are drawn to one scale");
        o.integer("--ranks", c->ranks, between(1, 1024), "ranks of the pipeline");
        o.integer("--micro-batches", c->micro_batches, between(1, 65536),
                  "micro-batches of a step");
        o.integer("--chunks", c->chunks, between(1, 1024),
                  "stages on a rank; by default what the schedule needs");
        o.reals("--costs", c->costs, any_real(),
                "F,B,W[,transfer]: time of a micro-batch's forward, backward by the input and by "
                "the weights in all stages of a rank; of a message");
        o.text("--svg", c->svg, any_text(), "also write a picture to this file");
        o.integer("--columns", c->columns, between(20, 10000), "width of the terminal");
        return [c] { return run(*c); };
      }};
}

}  // namespace orthant
