// SPDX-License-Identifier: Apache-2.0
#include <cstdio>
#include <map>
#include <memory>
#include <numeric>

#include "base/config/config.h"
#include "base/error.h"
#include "base/log.h"
#include "launch/command.h"
#include "launch/process.h"
#include "launch/run_file.h"
#include "parallel/comm/transport.h"
#include "trainer/datasets.h"
#include "trainer/device.h"
#include "trainer/run/progress.h"
#include "trainer/verify_layout.h"

namespace orthant {
namespace {

struct VerifyLayout {
  std::string config;
  std::vector<std::string> overrides, layouts;
  int64_t ranks = 4, steps = 3;
  bool scale_down = false;
};

// Why the configuration does not allow a layout, and what to change; "" where it does.
std::string misfit(const LayoutSpec& layout, const RunConfig& config) {
  // Experts share the ranks that the other axes make: "ep2" alone is one rank.
  const int64_t sharers = layout.expert_parallel_size * layout.expert_tensor_parallel_size;
  const int64_t ranks = layout.ranks();
  const int64_t replicas = layout.data_parallel_size * sharers / std::gcd(sharers, ranks);
  if (ranks % sharers != 0)
    return concat("layout '", layout.text, "': ep x etp = ", sharers, " does not divide ", ranks,
                  ranks == 1 ? " rank" : " ranks",
                  ", those of the other axes, which the experts share; give it dp", replicas,
                  ", as in dp2+ep2");
  const std::string reason = why_not(layout, config);
  if (reason.empty()) return "";
  return concat("layout '", layout.text, "' (", config.model.num_hidden_layers, " layers, batch ",
                config.batch.global_batch_size, " in ", config.batch.micro_batch_size,
                "): ", reason);
}

// Those that were asked for, of which each must fit, or all that fit.  Before anything runs.
std::vector<LayoutSpec> layouts_of(const VerifyLayout& command, const RunConfig& config,
                                   int world_size) {
  std::vector<LayoutSpec> layouts;
  std::string misfits;
  for (const std::string& text : command.layouts) {
    layouts.push_back(parse_layout(text));
    const std::string reason = misfit(layouts.back(), config);
    if (!reason.empty()) misfits += (misfits.empty() ? "" : "\n") + reason;
  }
  ORTHANT_CHECK(misfits.empty(), kConfig, misfits);
  if (!layouts.empty()) return layouts;
  for (const LayoutSpec& layout :
       default_layouts(config, std::max(static_cast<int>(command.ranks), world_size))) {
    if (world_size != 1 && layout.ranks() != world_size) continue;
    const std::string reason = misfit(layout, config);
    if (reason.empty()) layouts.push_back(layout);
    // Without the layouts that would fit: those are compared.
    if (!reason.empty()) log::info("left out: ", reason.substr(0, reason.find('\n')));
  }
  return layouts;
}

// Where the batch is not given it is one micro-batch a replica, another one on every layout: the
// same for all then, as many micro-batches as every layout can share.
std::string common_batch(const VerifyLayout& command, const std::vector<std::string>& overrides,
                         int world_size) {
  const BatchConfig batch = load_config<RunConfig>(command.config, overrides).config.batch;
  if (batch.global_batch_size > 0) return "";
  int64_t replicas = command.layouts.empty() ? std::max<int64_t>(command.ranks, world_size) : 1;
  for (const std::string& text : command.layouts)
    replicas = std::lcm(replicas, parse_layout(text).data_parallel_size);
  return concat("batch.global_batch_size=", batch.micro_batch_size * replicas);
}

// Rows of the user's data, read once: ranks that are threads ask for them at the same time.
std::map<std::pair<int64_t, int64_t>, MicroBatch> read_rows(RunConfig config, int64_t steps,
                                                            const Group& world) {
  config.batch.micro_batch_size = 1;
  config.batch.ramp_start = config.batch.ramp_increment = config.batch.ramp_samples = 0;
  config.evaluation.interval = 0;
  config.parallel = {};
  const RunPlan plan(config, 1);
  const RunConfig& one = plan.config();
  const Datasets data = open_datasets(one, world);
  const std::unique_ptr<Loader> loader = make_loader(one, data, one.batch.sizes(), Group::self());
  std::map<std::pair<int64_t, int64_t>, MicroBatch> rows;
  for (int64_t step = 1; step <= steps; ++step) {
    for (int64_t row = 0; row < one.batch.global_batch_size; ++row)
      rows[{step, row}] = loader->micro_batch(step - 1, row);
  }
  return rows;
}

void print_header(const LayoutVerdict& verdict) {
  std::printf("%-24s", "layout");
  for (const LayoutMeasure& m : verdict.measures) std::printf("  %18s", m.name.c_str());
  std::printf("  %-9s\n", "same bits");
}

void print_row(const LayoutVerdict& verdict) {
  std::printf("%-24s", verdict.layout.text.c_str());
  for (const LayoutMeasure& m : verdict.measures)
    std::printf("  %14.2e %3s", m.difference, m.passed() ? "ok" : "BAD");
  std::printf("  %-9s\n", verdict.first_bit_difference.empty() ? "yes" : "no");
  for (const LayoutMeasure& m : verdict.measures) {
    if (!m.passed())
      std::printf("    %s: %s differs by %.2e, want at most %.0e\n", m.name.c_str(),
                  m.tensor.c_str(), m.difference, m.tolerance);
  }
  std::fflush(stdout);
}

int run(const VerifyLayout& command) {
  const Group world = start_ranks(600.0);
  world.set_check_collectives(true);
  // Layouts say how the ranks share the work, not the file.
  std::vector<std::string> overrides = command.overrides;
  for (const char* size :
       {"data_parallel_size=0", "tensor_parallel_size=1", "pipeline_parallel_size=1",
        "pipeline_chunks=0", "pipeline_layers=[]", "pipeline_schedule=1f1b",
        "context_parallel_size=1", "expert_parallel_size=1", "expert_tensor_parallel_size=1"})
    overrides.push_back(concat("parallel.", size));
  for (const char* size : {"start", "increment", "samples"})  // steps of one size are compared
    overrides.push_back(concat("batch.ramp_", size, "=0"));
  const std::string batch = common_batch(command, overrides, world.size());
  if (!batch.empty()) overrides.push_back(batch);
  RunConfig config =
      load_run_file(command.config, overrides, world, /*world_size=*/1).plan.config();
  if (command.scale_down) config = scaled_down(config);
  const VerifyLayoutOptions options{.layouts = layouts_of(command, config, world.size()),
                                    .steps = command.steps};
  ORTHANT_CHECK(!options.layouts.empty(), kConfig, command.config, ": no layout of up to ",
                std::max<int64_t>(command.ranks, world.size()),
                " ranks fits it; change what is said of those above, or give --layouts");
  const int64_t steps = config.precision == DType::kBF16
                            ? std::max(options.steps, options.bf16_steps)
                            : options.steps;
  const auto rows = read_rows(config, steps, world);
  if (world.rank() == 0)
    std::fprintf(stderr, "%s against one rank, %s and fp64, %s\n",
                 counted(std::ssize(options.layouts), "layout").c_str(),
                 precision_names().of(config.precision).c_str(),
                 counted(options.steps, "step").c_str());
  bool passed = true, first = true;
  verify_layouts(
      config,
      [&](int64_t step, int64_t row) {
        return rows.at({step, row});
      },
      options, connect_devices(world, device_of(config.device), config.parallel.device_transport),
      [&](const LayoutVerdict& verdict) {
        passed = passed && verdict.passed();
        if (world.rank() != 0) return;
        if (first) print_header(verdict);
        first = false;
        print_row(verdict);
      });
  if (world.rank() == 0)
    std::printf(passed ? "all layouts compute the same\n" : "LAYOUTS DIFFER\n");
  return passed ? 0 : static_cast<int>(ErrorKind::kNumeric);
}

}  // namespace

Command verify_layout_command() {
  return {.name = "verify layout",
          .help = "run some steps of a configuration on one rank and on other layouts, and compare",
          .footer =
              "orthant verify layout configs/quickstart.yaml --layouts dp2,tp2+pp2 --scale-down\n"
              "Ranks are threads of this process; under mpirun -n N layouts of N ranks run as they "
              "would in training.\nExit code 77 when a layout differs.",
          .declare = [](Options& o) {
            const auto c = std::make_shared<VerifyLayout>();
            o.text("config", c->config, required_text(), "YAML file");
            o.texts("overrides", c->overrides, any_text(), "key.path=value");
            o.texts(
                "--layouts", c->layouts, Options::Each::kCommas,
                "for example dp2,dp4+ep2,dp4+ep2+etp2+recompute,dp1+mb1; by default all that fit "
                "up to --ranks");
            o.integer("--ranks", c->ranks, between(1, 64), "largest number of ranks");
            o.integer("--steps", c->steps, between(1, 1000), "steps to compare after");
            o.flag("--scale-down", c->scale_down, "a smaller model and batch of the same kinds");
            return [c] { return run(*c); };
          }};
}

}  // namespace orthant
