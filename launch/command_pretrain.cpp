// SPDX-License-Identifier: Apache-2.0
#include <cstdio>
#include <cstdlib>

#include "base/context.h"
#include "base/error.h"
#include "base/log.h"
#include "launch/commands.h"
#include "launch/config_visitors.h"
#include "launch/process.h"
#include "launch/run_file.h"
#include "trainer/datasets.h"
#include "trainer/pretrain.h"
#include "trainer/progress.h"

namespace orthant {
namespace {

// What a run would do, without doing any of it.
void print_plan(const RunFile& file, int world_size) {
  const RunConfig& c = file.config;
  check_inputs(c);
  const std::unique_ptr<Tokenizer> tokenizer = make_tokenizer(c.data.tokenizer);
  check_vocabulary(c, *tokenizer);
  const double parameters = static_cast<double>(total_parameters(c.model));
  const double wide = c.precision == "fp64" ? 8 : 4,
               narrow = static_cast<double>(size_of(c.dtype()));
  const double master = narrow < wide ? wide : 0;
  const double moments = c.optimizer.name == "adamw" ? 2 * wide : 0;
  const auto bytes = [](double n) { return human_bytes(n); };
  std::printf("%s", file.yaml.c_str());
  std::printf("\n# plan\n");
  std::printf("#   parameters        %s (%s active in matrix products)\n",
              with_thousands(total_parameters(c.model)).c_str(),
              with_thousands(active_matmul_parameters(c.model)).c_str());
  std::printf("#   tokenizer         %s, %s ids\n", tokenizer->name().c_str(),
              with_thousands(tokenizer->vocab_size()).c_str());
  std::printf("#   ranks             %d (%s), %s each\n", world_size, c.parallel.text().c_str(),
              counted(context().num_threads, "thread").c_str());
  std::printf("#   a step            %s sequences of %s tokens, %s micro-batches, %s a rank\n",
              with_thousands(c.batch.global_batch_size).c_str(),
              with_thousands(c.batch.sequence_length).c_str(),
              with_thousands(c.batch.micro_batches()).c_str(),
              with_thousands(c.batch.micro_batches() / world_size).c_str());
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
  std::printf(
      "#   memory of a rank  weights %s, gradients %s or more, optimizer %s, activations beside\n",
      bytes(parameters * narrow).c_str(), bytes(parameters * wide).c_str(),
      bytes(parameters * (master + moments)).c_str());
  std::printf("#   writes to         %s\n", c.run.dir.c_str());
}

}  // namespace

int run_pretrain(const PretrainCommand& command) {
  const double start = process_start_seconds();
  if (command.allow_failpoints) {
    if (const char* spec = std::getenv("ORTHANT_FAILPOINT")) context().failpoint = spec;
  }
  log::set_quiet(command.quiet);
  const Group world = start_ranks(600.0);
  const RunFile file = load_run_file(command.config, command.overrides, world, world.size());
  world.set_deadline_seconds(file.config.parallel.timeout_seconds);
  world.set_check_collectives(file.config.parallel.check_collectives);
  for (const std::string& note : file.notes) log::info(note);
  if (command.dry_run) {
    if (world.rank() == 0) print_plan(file, world.size());
    return 0;
  }
  install_signal_handlers();
  const PretrainResult result = pretrain({.config = file.config,
                                          .to_yaml = dump_run_config,
                                          .differences = diff_configs,
                                          .stop = &stop_requested,
                                          .start_seconds = start},
                                         world);
  return result.interrupted ? static_cast<int>(ErrorKind::kInterrupted) : 0;
}

}  // namespace orthant
