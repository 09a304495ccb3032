// SPDX-License-Identifier: Apache-2.0
// Training steps of a configuration on random tokens, optimizer included.
//   train_bench CONFIG [key=value ...] --speed     ten steps, and what they cost
//   train_bench CONFIG [key=value ...] --profile   the same, and a table of a step by op with its
//                                                  floor; on a device every op is waited for
//   train_bench CONFIG [key=value ...] --serve     one step for every line on stdin; prints its
//                                                  seconds (bench/compare.py)
#include <algorithm>
#include <cmath>
#include <cstdio>
#include <iostream>
#include <map>
#include <string>
#include <vector>

#include "base/clock.h"
#include "base/context.h"
#include "bench/ceilings.h"
#include "bench/random_tokens.h"
#include "launch/run_file.h"
#include "tensor/ops/call.h"
#include "trainer/pretrain_engine.h"

namespace orthant {
namespace {

// Floors: products at the measured product rate; everything else at the measured copy bandwidth,
// each operand once.
class Profile final : public ops::OpObserver {
 public:
  struct Row {
    double seconds = 0, flops = 0, bytes = 0;
    int64_t calls = 0;
  };
  void observe(const char* op, std::initializer_list<const Tensor*> operands,
               double seconds) override {
    Row& row = rows[op];
    row.seconds += seconds;
    ++row.calls;
    for (const Tensor* t : operands) row.bytes += static_cast<double>(t->bytes());
    const std::string name = op;
    const auto numel = [&](size_t i) {
      return static_cast<double>((*(operands.begin() + i))->numel());
    };
    if (name == "linear") row.flops += 2 * std::sqrt(numel(0) * numel(1) * numel(2));
    if (name == "grouped_linear") {
      const Tensor &x = **operands.begin(), &y = **(operands.begin() + 2);
      row.flops += 2.0 * static_cast<double>(x.dim(0)) * static_cast<double>(x.dim(1)) *
                   static_cast<double>(y.dim(1));
    }
  }
  std::map<std::string, Row> rows;
};

int run(int argc, char** argv) {
  std::vector<std::string> overrides;
  std::string config, mode = "--profile";
  for (int i = 1; i < argc; ++i) {
    const std::string argument = argv[i];
    if (argument.starts_with("--")) {
      mode = argument;
    } else if (config.empty()) {
      config = argument;
    } else {
      overrides.push_back(argument);
    }
  }
  const RunFile file = load_run_file(config, overrides, Group::self(), 1);
  const RunConfig& c = file.plan.config();
  Engine engine = pretrain_engine(file.plan, Group::self());
  int64_t step = 0;
  const auto run_step = [&] {
    const std::vector<MicroBatch> batches = random_batches(c, ++step, Group::self());
    const double begin = now_seconds();
    engine.step(batches, step);
    return now_seconds() - begin;
  };
  if (mode == "--serve") {
    for (std::string line; std::getline(std::cin, line);) std::cout << run_step() << std::endl;
    return 0;
  }
  for (int i = 0; i < 2; ++i) run_step();
  Profile profile;
  std::vector<double> times;
  constexpr int kSteps = 8;
  if (mode == "--profile") ops::set_op_observer(&profile);
  for (int i = 0; i < kSteps; ++i) times.push_back(run_step());
  ops::set_op_observer(nullptr);
  std::sort(times.begin(), times.end());
  const double median = times[times.size() / 2];
  const Ceilings ceilings = ceilings_of(engine.role().device(), c.precision);
  const double peak = ceilings.flops, bandwidth = ceilings.bandwidth;
  const double tokens = static_cast<double>(c.batch.global_batch_size * c.batch.sequence_length);
  const double flops = flops_per_token(c.model, c.batch.sequence_length) * tokens;
  std::printf("%s on %s (%s, %d threads): step %.2f ms (median of %d), %.0f tokens/s, %.1f GFLOP/s",
              config.c_str(), name_of(engine.role().device()).c_str(), ceilings.device.c_str(),
              context().num_threads, median * 1e3, kSteps, tokens / median, flops / median / 1e9);
  if (peak > 0)
    std::printf(" = %.0f%% of %.0f; memory %.0f GB/s", 100 * flops / median / peak, peak / 1e9,
                bandwidth / 1e9);
  std::printf("\n");
  if (mode == "--speed") return 0;
  std::printf("%-22s %7s %10s %7s %10s %9s\n", "op", "calls", "ms a step", "share", "floor ms",
              "of floor");
  std::vector<std::pair<std::string, Profile::Row>> rows(profile.rows.begin(), profile.rows.end());
  std::sort(rows.begin(), rows.end(),
            [](const auto& a, const auto& b) { return a.second.seconds > b.second.seconds; });
  double seen = 0, total = 0;
  for (double t : times) total += t;
  for (const auto& [name, row] : rows) {
    const double ceiling = row.flops > 0 ? peak : bandwidth;
    const double floor = ceiling > 0 ? (row.flops > 0 ? row.flops : row.bytes) / ceiling : 0.0;
    seen += row.seconds;
    std::printf("%-22s %7lld %10.2f %6.1f%%", name.c_str(),
                static_cast<long long>(row.calls / kSteps), row.seconds / kSteps * 1e3,
                100 * row.seconds / total);
    if (ceiling > 0)
      std::printf(" %10.2f %8.0f%%", floor / kSteps * 1e3, 100 * floor / row.seconds);
    std::printf("\n");
  }
  std::printf("%-22s %7s %10.2f %6.1f%%\n", "between ops", "", (total - seen) / kSteps * 1e3,
              100 * (total - seen) / total);
  return 0;
}

}  // namespace
}  // namespace orthant

int main(int argc, char** argv) { return orthant::run(argc, argv); }
