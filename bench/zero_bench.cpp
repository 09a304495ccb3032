// SPDX-License-Identifier: Apache-2.0
// ZeRO-1 against plain replicas: two engines in the same ranks take turns, step by step, so that a
// busy machine slows both.  Rank 0 prints medians and where the time outside of backward goes.
//   orthant launch -n 2 --program zero_bench -- CONFIG [key=value ...]
#include <algorithm>
#include <cstdio>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "base/clock.h"
#include "base/context.h"
#include "bench/random_tokens.h"
#include "launch/run_file.h"
#include "parallel/comm/mpi/mpi_world.h"
#include "tensor/ops/call.h"
#include "trainer/pretrain_engine.h"

namespace orthant {
namespace {

constexpr int kPairs = 9;

class OpSeconds final : public ops::OpObserver {
 public:
  void observe(const char* op, std::initializer_list<const Tensor*>, double seconds) override {
    by_op[op] += seconds;
  }
  std::map<std::string, double> by_op;
};

double median(std::vector<double> values) {
  std::sort(values.begin(), values.end());
  return values[values.size() / 2];
}

struct Side {
  std::unique_ptr<Engine> engine;
  int64_t step = 0;
  std::vector<double> seconds;  // of steps
  OpSeconds op_seconds;
  int64_t state_bytes = 0;

  void run(const RunConfig& config, const Group& world, bool timed) {
    const std::vector<MicroBatch> batches = random_batches(config, ++step, world);
    world.barrier();
    if (timed) ops::set_op_observer(&op_seconds);
    const double begin = now_seconds();
    engine->step(batches, step);
    if (timed) seconds.push_back(now_seconds() - begin);
    ops::set_op_observer(nullptr);
  }
};

int run(int argc, char** argv, const Group& world) {
  std::vector<std::string> overrides(argv + 2, argv + argc);
  RunConfig config = load_run_file(argv[1], overrides, world, world.size()).plan.config();
  const auto optimizer_bytes = [] { return context().ledger->bytes(MemoryCategory::kOptimizer); };
  Side sides[2];
  for (int stage = 0; stage < 2; ++stage) {
    config.parallel.zero_stage = stage;
    const int64_t before = optimizer_bytes();
    sides[stage].engine =
        std::unique_ptr<Engine>(new Engine(pretrain_engine(RunPlan(config, world.size()), world)));
    sides[stage].state_bytes = optimizer_bytes() - before;
  }
  std::vector<double> ratios;
  for (int pair = -1; pair < kPairs; ++pair) {
    for (const int i : {0, 1}) sides[(pair + i) & 1].run(config, world, pair >= 0);
    if (pair >= 0) ratios.push_back(sides[0].seconds.back() / sides[1].seconds.back());
  }
  if (world.rank() > 0) return 0;
  for (int stage = 0; stage < 2; ++stage) {
    Side& side = sides[stage];
    std::printf(
        "zero %d: %.1f ms a step (median of %d), optimizer state %.1f MB; ms a step:", stage,
        median(side.seconds) * 1e3, kPairs, static_cast<double>(side.state_bytes) / 1e6);
    for (const char* op : {"adamw", "sum_squares", "add", "copy"})
      std::printf(" %s %.1f", op, side.op_seconds.by_op[op] / kPairs * 1e3);
    std::printf("\n");
  }
  std::sort(ratios.begin(), ratios.end());
  std::printf("zero 0 over zero 1: %.3f (pairs: %.3f to %.3f)\n", median(ratios), ratios.front(),
              ratios.back());
  return 0;
}

}  // namespace
}  // namespace orthant

int main(int argc, char** argv) {
  using namespace orthant;
  if (argc < 2 || !launched_by_mpi()) {
    std::fprintf(stderr, "usage: mpirun -n 2 zero_bench CONFIG [key=value ...]\n");
    return 2;
  }
  RankContext context;
  const ContextScope scope(context);
  try {
    const Group world = mpi_world();
    context.rank = world.rank();
    context.world_size = world.size();
    context.num_threads = default_num_threads();
    const int code = run(argc, argv, world);
    finalize_mpi();
    return code;
  } catch (const std::exception& error) {
    std::fprintf(stderr, "%s\n", error.what());
    abort_mpi(1);
  }
}
