// SPDX-License-Identifier: Apache-2.0
#include <cstdio>
#include <cstdlib>
#include <memory>

#include "base/config/config.h"
#include "base/context.h"
#include "base/error.h"
#include "base/log.h"
#include "launch/command.h"
#include "launch/memory_text.h"
#include "launch/process.h"
#include "launch/run_file.h"
#include "tensor/cpu/isa.h"
#include "trainer/datasets.h"
#include "trainer/pretrain.h"
#include "trainer/run/progress.h"

namespace orthant {
namespace {

struct Pretrain {
  std::string config;
  std::vector<std::string> overrides;
  bool dry_run = false, quiet = false, allow_failpoints = false;
  int64_t ranks = 0;  // of a dry run; 0: those that were started, or what the layout takes
};

// What a run would do, without doing any of it.
void print_plan(const RunPlan& plan) {
  const RunConfig& c = plan.config();
  check_inputs(c);
  const std::unique_ptr<Tokenizer> tokenizer = make_tokenizer(c.data.tokenizer);
  check_vocabulary(c, *tokenizer);
  check_corpora(c, *tokenizer);
  std::printf("%s", plan.yaml().c_str());
  std::printf("\n# plan\n");
  std::printf("#   parameters        %s (%s active in matrix products)\n",
              with_thousands(total_parameters(c.model)).c_str(),
              with_thousands(active_matmul_parameters(c.model)).c_str());
  std::printf("#   tokenizer         %s, %s ids\n", tokenizer->name().c_str(),
              with_thousands(tokenizer->vocab_size()).c_str());
  std::printf("#   ranks             %d (%s), %s each\n", plan.world_size(),
              c.parallel.text().c_str(), counted(context().num_threads, "thread").c_str());
  if (c.parallel.pipeline_parallel_size > 1)
    std::printf("#   pipeline          %s\n", plan.pipeline_text().c_str());
  std::printf("#   a step            %s sequences of %s tokens, %s micro-batches, %s a replica\n",
              with_thousands(c.batch.global_batch_size).c_str(),
              with_thousands(c.batch.sequence_length).c_str(),
              with_thousands(c.batch.micro_batches()).c_str(),
              with_thousands(c.batch.micro_batches() / c.parallel.data_parallel_size).c_str());
  if (c.batch.ramp_samples > 0) {
    std::printf("#   batch ramp        from %s sequences by %s, all of them after %s steps\n",
                with_thousands(c.batch.ramp_start).c_str(),
                with_thousands(c.batch.ramp_increment).c_str(),
                with_thousands(c.batch.sizes().ramp_steps()).c_str());
  }
  std::printf(
      "#   steps             %s, %s tokens in all\n", with_thousands(c.run.max_steps).c_str(),
      with_thousands(c.batch.sizes().samples_after(c.run.max_steps) * c.batch.sequence_length)
          .c_str());
  std::printf("#   writes to         %s\n", c.run.dir.c_str());
  print_memory(plan);
}

int run(const Pretrain& command) {
  const double start = process_start_seconds();
  if (command.allow_failpoints) {
    if (const char* spec = std::getenv("ORTHANT_FAILPOINT")) context().failpoint = spec;
  }
  log::set_quiet(command.quiet);
  const Group world = start_ranks(600.0);
  int ranks = world.size();
  if (command.dry_run && (command.ranks > 0 || ranks == 1)) ranks = static_cast<int>(command.ranks);
  const RunFile file = load_run_file(command.config, command.overrides, world, ranks);
  const RunConfig& config = file.plan.config();
  world.set_deadline_seconds(config.parallel.timeout_seconds);
  world.set_check_collectives(config.parallel.check_collectives);
  for (const std::string& note : file.notes) log::info(note);
  if (command.dry_run) {
    if (world.rank() == 0) print_plan(file.plan);
    return 0;
  }
  if (config.precision == DType::kBF16) log::info("level: ", cpu::text_of(cpu::isa_choice()));
  install_signal_handlers();
  const PretrainResult result =
      pretrain({.plan = file.plan, .stop = &stop_requested, .start_seconds = start}, world);
  return result.interrupted ? static_cast<int>(ErrorKind::kInterrupted) : 0;
}

}  // namespace

Command pretrain_command() {
  return {
      .name = "pretrain",
      .help = "train a model from a YAML file; the same command again goes on where it stopped",
      .footer =
          "orthant pretrain configs/quickstart.yaml run.max_steps=100\n"
          "On several ranks: orthant launch -n 8 -- pretrain CONFIG.\n"
          "Exit codes: 0 done, 64 configuration, 65 data, 66 missing input, 75 stopped by a signal "
          "and saved (run the\nsame command to go on), 76 communication, 77 numeric; "
          "docs/architecture.md.",
      .declare = [](Options& o) {
        const auto c = std::make_shared<Pretrain>();
        o.text("config", c->config, required_text(),
               "YAML file, for example configs/quickstart.yaml");
        o.texts("overrides", c->overrides, any_text(),
                "key.path=value, for example optimizer.learning_rate=3e-4");
        o.flag("--dry-run", c->dry_run,
               "print the resolved configuration, what would be done and the memory of each stage");
        o.integer("--ranks", c->ranks, between(1, 1 << 20),
                  "with --dry-run: ranks of the run; without: what the layout takes");
        o.needs("--ranks", "--dry-run");
        o.flag("--quiet", c->quiet, "only warnings and errors on the console");
        o.flag("--allow-failpoints", c->allow_failpoints, "honour ORTHANT_FAILPOINT (for tests)");
        return [c] { return run(*c); };
      }};
}

}  // namespace orthant
