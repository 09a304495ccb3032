// SPDX-License-Identifier: Apache-2.0
#include <memory>

#include "base/error.h"
#include "base/log.h"
#include "base/user_output.h"
#include "launch/command.h"
#include "launch/supervised_run.h"
#include "trainer/run/progress.h"
#include "trainer/teacher_writing.h"

namespace orthant {
namespace {

struct Distill {
  SupervisedRun run;
  std::string log_probs;  // to write
};

void write_log_probs(const FinetuneFile& file, const std::string& path, const Group& world) {
  check_output("distill: --teacher-log-probs", path, {file.run.plan.config().run.dir});
  const int64_t labels = write_teacher_log_probs(file.run.plan, file.sections, path, world);
  log::info("teacher: ", path, ": ", with_thousands(labels), " labels, the ",
            file.sections.distill.top_k,
            " likeliest tokens of each; distill.teacher.log_probs=", path,
            " trains on them without the teacher");
}

int run(Distill& command) {
  command.run.check = [](const FinetuneConfig& config) {
    config.distill.validate(config.model.vocab_size);
  };
  if (!command.log_probs.empty())
    command.run.work = [&](const FinetuneFile& file, const Group& world) {
      write_log_probs(file, command.log_probs, world);
    };
  return run_supervised(command.run);
}

}  // namespace

Command distill_command() {
  return {
      .name = "distill",
      .help = "train a model, or adapters, towards what a teacher says of conversations",
      .footer =
          "orthant distill configs/distill.yaml\n"
          "orthant distill configs/distill.yaml --teacher-log-probs runs/teacher.h5\n"
          "orthant distill configs/distill.yaml distill.teacher.log_probs=runs/teacher.h5\n"
          "On several ranks: orthant launch -n 2 -- distill CONFIG.  docs/fine-tuning.md, "
          "\"Distillation\".\n"
          "Exit codes: 0 done, 64 configuration, 65 data, 66 missing input, 75 stopped by a signal "
          "and saved (run the\nsame command to go on), 76 communication, 77 numeric; "
          "docs/architecture.md.",
      .declare = [](Options& o) {
        const auto c = std::make_shared<Distill>();
        declare_supervised(o, c->run, "configs/distill.yaml", required_text());
        o.text("--teacher-log-probs", c->log_probs, any_text(),
               "write what the teacher says of all the data into this file, and train nothing");
        return [c] { return run(*c); };
      }};
}

}  // namespace orthant
