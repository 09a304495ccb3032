// SPDX-License-Identifier: Apache-2.0
#include <memory>

#include "base/error.h"
#include "launch/command.h"
#include "launch/launched_rank.h"
#include "launch/launcher.h"

namespace orthant {
namespace {

struct Launch {
  int64_t ranks = 0;
  std::string program, launcher;
  std::vector<std::string> arguments;
};

int run(const Launch& command) {
  const std::string program = command.program.empty() ? own_program() : command.program;
  if (!command.launcher.empty()) run_as_rank(command.launcher, program, command.arguments);
  ORTHANT_CHECK(
      !command.program.empty() || !command.arguments.empty(), kUsage,
      "launch: want a command behind --, such as: orthant launch -n 2 -- pretrain CONFIG");
  ORTHANT_CHECK(command.ranks > 0, kUsage, "launch: -n: want a number of ranks");
  return launch_ranks(static_cast<int>(command.ranks), program, command.arguments);
}

}  // namespace

Command launch_command() {
  return {.name = "launch",
          .help = "run a command on several ranks of this machine, under mpirun",
          .footer =
              "orthant launch -n 2 -- pretrain configs/quickstart.yaml run.max_steps=100\n"
              "The first Ctrl-C, SIGTERM, hang-up or SIGUSR1 lets a run save and end with 75; a "
              "Ctrl-C after that ends it at\nonce.  The exit code is that of the ranks, or 128 + a "
              "signal's number.  On a cluster use its mpirun or srun:\n"
              "mpirun -n 2 orthant pretrain configs/quickstart.yaml",
          .declare = [](Options& o) {
            const auto c = std::make_shared<Launch>();
            o.integer("-n,--ranks", c->ranks, between(1, 4096), "how many ranks");
            o.text("--program", c->program, any_text(), "run this program instead of orthant");
            o.text("--as-rank-of", c->launcher, any_text(),
                   "what launch itself starts under mpirun");
            o.texts("command", c->arguments, any_text(), "after --: the words for each rank");
            return [c] { return run(*c); };
          }};
}

}  // namespace orthant
