// SPDX-License-Identifier: Apache-2.0
#include <cstdio>
#include <fstream>
#include <iostream>
#include <iterator>
#include <memory>

#include "base/error.h"
#include "launch/command.h"
#include "launch/process.h"
#include "trainer/generate.h"
#include "trainer/saved_model.h"

namespace orthant {
namespace {

struct Generate {
  std::string model, prompt, prompt_file, precision;
  SamplingConfig sampling;
  std::vector<std::string> stop;
  int64_t seed = 1234, samples = 1;
  std::string mla = latent_form_names().of(LatentForm::kAbsorbed);
};

// A text editor ends the last line with a newline, which is not meant as part of the prompt.
std::string prompt_of(const Generate& command) {
  if (command.prompt_file.empty()) return command.prompt;
  const auto read = [](std::istream& in) {
    return std::string(std::istreambuf_iterator<char>(in), {});
  };
  std::string text;
  if (command.prompt_file == "-") {
    text = read(std::cin);
  } else {
    std::ifstream file(command.prompt_file, std::ios::binary);
    ORTHANT_CHECK(file.is_open(), kMissingInput, "generate: --prompt-file: ", command.prompt_file,
                  ": cannot be read; - is standard input");
    text = read(file);
    ORTHANT_CHECK(!file.bad(), kMissingInput, "generate: --prompt-file: ", command.prompt_file,
                  ": cannot be read; want a file of text");
  }
  if (text.ends_with('\n')) text.pop_back();
  return text;
}

int run(const Generate& command) {
  if (!is_first_process()) return 0;
  for (const std::string& stop : command.stop)
    ORTHANT_CHECK(!stop.empty(), kUsage, "generate: --stop: want a text, got an empty one");
  const std::string prompt = prompt_of(command);
  const SavedModel saved = load_saved_model("generate", command.model, command.precision);
  for (int64_t sample = 0; sample < command.samples; ++sample) {
    std::fwrite(prompt.data(), 1, prompt.size(), stdout);
    generate(*saved.model, *saved.tokenizer,
             {.prompt = prompt,
              .begin = saved.begin,
              .end_ids = saved.end_ids,
              .sampling = command.sampling,
              .stop = command.stop,
              .seed = command.seed,
              .sample = sample,
              .on_text =
                  [](const std::string& piece) {
                    std::fwrite(piece.data(), 1, piece.size(), stdout);
                    std::fflush(stdout);
                  }},
             latent_form_names().at(command.mla));
    std::fputc('\n', stdout);
  }
  return 0;
}

}  // namespace

Command generate_command() {
  return {
      .name = "generate",
      .help = "text from a trained model; only the text goes to stdout",
      .footer =
          "orthant generate runs/quickstart --prompt 'The day' --max-new-tokens 100\n"
          "orthant generate runs/quickstart --prompt-file question.txt --stop 'Q:' --stop 'A:'\n"
          "echo 'Once upon' | orthant generate runs/quickstart --prompt-file - --temperature 0",
      .declare = [](Options& o) {
        const auto c = std::make_shared<Generate>();
        o.text("model", c->model, required_text(), "a run directory, or one of its checkpoints");
        o.text("--prompt", c->prompt, any_text(), "text to go on from");
        o.text("--prompt-file", c->prompt_file, any_text(),
               "file with the text to go on from, - for standard input; a newline at its end is "
               "left out");
        o.excludes("--prompt-file", "--prompt");
        o.fields(field_list(c->sampling));
        o.texts("--stop", c->stop, Options::Each::kOnce,
                "end where this text begins, without it; may be given again");
        o.integer("--seed", c->seed, IntBounds{}, "the same seed gives the same text");
        o.integer("--samples", c->samples, at_least(1), "how many");
        o.text(
            "--mla", c->mla, one_of(latent_form_names().all()),
            "how new tokens see the cache of latent attention: keys and values made of it again, "
            "with the bits of training, or the latents themselves, with less work");
        o.text("--precision", c->precision, one_of({"fp64", "fp32", "bf16"}),
               "of the weights; that of the run by default");
        return [c] { return run(*c); };
      }};
}

}  // namespace orthant
