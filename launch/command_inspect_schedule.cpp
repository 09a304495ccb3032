// SPDX-License-Identifier: Apache-2.0
#include <cstdio>
#include <filesystem>
#include <fstream>

#include "base/error.h"
#include "launch/commands.h"
#include "parallel/pipeline/drawing.h"
#include "parallel/pipeline/generators.h"
#include "parallel/pipeline/simulator.h"
#include "trainer/run/pipeline_record.h"
#include "trainer/run/run_dir.h"

namespace orthant {
namespace {

using namespace pipeline;

// Costs are of a rank's whole share of the model, so that schedules can be compared.
Costs stage_costs(const InspectScheduleCommand& command, int chunks) {
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

void add_predicted(const InspectScheduleCommand& command, const std::string& name,
                   Picture& picture) {
  const Schedule& schedule = picture.schedules.emplace_back(
      make_schedule(name, command.ranks, command.micro_batches, command.chunks));
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

}  // namespace

int run_inspect_schedule(const InspectScheduleCommand& command) {
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
  std::fputs(timeline_text(picture.timelines, command.columns).c_str(), stdout);
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

}  // namespace orthant
