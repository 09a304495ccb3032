// SPDX-License-Identifier: Apache-2.0
#include <cstdio>
#include <memory>

#include "launch/command.h"
#include "launch/completion.h"
#include "trainer/finetune_config.h"

namespace orthant {

Command completion_command() {
  return {.name = "completion",
          .help = "print a script that completes commands, options, files and keys",
          .footer =
              "source <(orthant completion bash)\n"
              "In ~/.bashrc, or in ~/.zshrc with zsh, after compinit.",
          .declare = [](Options& o) {
            const auto shell = std::make_shared<std::string>();
            TextRule shells = one_of({"bash", "zsh"});
            shells.required = true;
            o.text("shell", *shell, shells, "whose completion");
            return [shell] {
              FinetuneConfig config;  // with the keys of all commands
              std::fputs(completion_script(all_commands(), field_list(config)).c_str(), stdout);
              return 0;
            };
          }};
}

}  // namespace orthant
