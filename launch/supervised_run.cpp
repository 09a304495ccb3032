// SPDX-License-Identifier: Apache-2.0
#include "launch/supervised_run.h"

#include <cstdio>

#include "base/error.h"
#include "base/log.h"
#include "launch/memory_text.h"
#include "launch/process.h"
#include "tensor/cpu/isa.h"
#include "trainer/finetune.h"
#include "trainer/supervised_data.h"

namespace orthant {
namespace {

// What a run would do, without doing any of it.
void print_plan(const FinetuneConfig& config, const RunPlan& plan) {
  std::printf("%s\n# plan\n", to_yaml(config).c_str());
  const SupervisedData data = open_supervised_data(config, Group::self());
  for (const std::string& line : summary_of(config, data)) std::printf("#   %s\n", line.c_str());
  print_memory(plan);
  if (config.distill.is_on()) std::printf("#                     and what the teacher takes\n");
}

}  // namespace

int run_supervised(const SupervisedRun& run) {
  const double start = process_start_seconds();
  log::set_quiet(run.quiet);
  const Group world = start_ranks(600.0);
  const FinetuneFile file = load_finetune_file(run.config, run.overrides, world, world.size());
  run.check(file.open_config());
  const RunConfig& config = file.run.plan.config();
  world.set_deadline_seconds(config.parallel.timeout_seconds);
  world.set_check_collectives(config.parallel.check_collectives);
  for (const std::string& note : file.run.notes) log::info(note);
  if (run.dry_run) {
    if (world.rank() == 0) print_plan(file.open_config(), file.run.plan);
    return 0;
  }
  if (config.precision == DType::kBF16) log::info("level: ", cpu::text_of(cpu::isa_choice()));
  if (run.work) {
    run.work(file, world);
    return 0;
  }
  install_signal_handlers();
  const FinetuneResult result = finetune({.plan = file.run.plan,
                                          .sections = file.sections,
                                          .stop = &stop_requested,
                                          .start_seconds = start},
                                         world);
  return result.interrupted ? static_cast<int>(ErrorKind::kInterrupted) : 0;
}

void declare_supervised(Options& options, SupervisedRun& run, const char* example,
                        const TextRule& file_rule) {
  options.text("config", run.config, file_rule, concat("YAML file, for example ", example));
  options.texts("overrides", run.overrides, any_text(),
                "key.path=value, for example optimizer.learning_rate=3e-4");
  options.flag("--dry-run", run.dry_run,
               "print the resolved configuration, what the data holds and what memory the run "
               "needs, and train nothing");
  options.flag("--quiet", run.quiet, "only warnings and errors on the console");
}

}  // namespace orthant
