// SPDX-License-Identifier: Apache-2.0
#include <memory>

#include "launch/command.h"

// One line for each command, in the order of --help.  A list, not objects that enter themselves
// while the program is loaded: those of a static library are dropped when nothing names them.
#define ORTHANT_COMMANDS(command)                                                                  \
  command(pretrain) command(finetune) command(distill) command(launch) command(prepare)            \
      command(tokenizer_train) command(tokenizer_encode) command(tokenizer_decode) command(import) \
          command(export) command(merge) command(quantize) command(generate) command(chat)         \
              command(evaluate) command(embed) command(inspect_config) command(inspect_corpus)     \
                  command(inspect_data) command(inspect_checkpoint) command(inspect_routing)       \
                      command(inspect_schedule) command(verify_layout) command(doctor)             \
                          command(completion)

namespace orthant {

#define ORTHANT_DECLARE(name) Command name##_command();
ORTHANT_COMMANDS(ORTHANT_DECLARE)
#undef ORTHANT_DECLARE

std::vector<Command> all_commands() {
#define ORTHANT_CALL(name) name##_command(),
  return {ORTHANT_COMMANDS(ORTHANT_CALL)};
#undef ORTHANT_CALL
}

}  // namespace orthant
