// SPDX-License-Identifier: Apache-2.0
#include <cstdio>

#include "launch/commands.h"
#include "launch/process.h"
#include "launch/saved_model.h"
#include "trainer/generate.h"

namespace orthant {

int run_generate(const GenerateCommand& command) {
  if (!is_first_process()) return 0;
  const SavedModel saved = load_saved_model("generate", command.model, command.precision);
  for (int64_t sample = 0; sample < command.samples; ++sample) {
    std::fputs(command.prompt.c_str(), stdout);
    generate(*saved.model, *saved.tokenizer,
             {.prompt = command.prompt,
              .max_new_tokens = command.max_new_tokens,
              .temperature = command.temperature,
              .top_k = command.top_k,
              .top_p = command.top_p,
              .seed = command.seed,
              .sample = sample,
              .on_text = [](const std::string& piece) {
                std::fwrite(piece.data(), 1, piece.size(), stdout);
                std::fflush(stdout);
              }});
    std::fputc('\n', stdout);
  }
  return 0;
}

}  // namespace orthant
