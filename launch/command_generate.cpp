// SPDX-License-Identifier: Apache-2.0
#include <fstream>
#include <iostream>
#include <iterator>
#include <memory>

#include "base/clock.h"
#include "base/error.h"
#include "base/log.h"
#include "launch/command.h"
#include "launch/process.h"
#include "trainer/agree.h"
#include "trainer/generate_file.h"
#include "trainer/run/progress.h"
#include "trainer/saved_model.h"

namespace orthant {
namespace {

struct Generate {
  std::string model, prompt, prompt_file, prompts, output, precision, adapter;
  std::vector<std::string> overrides;
  SamplingConfig sampling;
  std::vector<std::string> stop;
  int64_t seed = 1234, samples = 1;
  bool log_probs = false;
  int64_t max_sequences = DecoderOptions{}.max_sequences;
  std::string mla = latent_form_names().of(LatentForm::kAbsorbed);

  DecoderOptions decoder() const {
    return {.latent = latent_form_names().at(mla), .max_sequences = max_sequences};
  }
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

// Samples one after another; the first as it comes.
void write_samples(const Generate& command, const SavedModel& saved, const std::string& prompt) {
  const bool is_first = saved.role->groups().world.rank() == 0;
  if (is_first) write_out(prompt);
  std::vector<GenerateOptions> wanted;
  for (int64_t sample = 0; sample < command.samples; ++sample)
    wanted.push_back({.prompt = prompt,
                      .begin = saved.begin,
                      .end_ids = saved.end_ids,
                      .sampling = command.sampling,
                      .stop = command.stop,
                      .seed = command.seed,
                      .sample = sample});
  if (is_first) wanted.front().on_text = write_out;
  const std::vector<Generated> texts =
      generate(saved.role->pipeline().decoder(command.decoder()), *saved.tokenizer, wanted);
  if (!is_first) return;
  write_out("\n");
  for (size_t i = 1; i < texts.size(); ++i) write_out(prompt + texts[i].text + "\n");
}

// What is shown while a file of prompts is worked on.
class Progress {
 public:
  void show(const PromptFileResult& so_far) {
    constexpr double kInterval = 5.0;
    const double now = now_seconds();
    if (now - last_ < kInterval) return;
    last_ = now;
    log::info(
        "generate: ", with_thousands(so_far.texts), " texts are written, ",
        with_thousands(so_far.tokens), " tokens, ",
        with_thousands(static_cast<int64_t>(static_cast<double>(so_far.tokens) / (now - begin_))),
        " tokens/s");
  }

 private:
  const double begin_ = now_seconds();
  double last_ = begin_;
};

void write_file(const Generate& command, const SavedModel& saved) {
  Progress progress;
  const Group& world = saved.role->groups().world;
  PromptFileOptions options{
      .prompts = command.prompts,
      .output = command.output,
      .each = {.sampling = command.sampling, .stop = command.stop, .seed = command.seed},
      .samples = command.samples,
      .log_probs = command.log_probs,
      .decoder = command.decoder()};
  if (world.rank() == 0)
    options.progress = [&](const PromptFileResult& so_far) { progress.show(so_far); };
  const PromptFileResult result = generate_file(saved, options);
  if (world.rank() == 0)
    log::info("generate: ", counted(result.texts, "text"), " in ", command.output);
}

int run(const Generate& command) {
  for (const std::string& stop : command.stop)
    ORTHANT_CHECK(!stop.empty(), kUsage, "generate: --stop: want a text, got an empty one");
  const bool is_file = !command.prompts.empty();
  const Group world = start_ranks(600.0);
  // A launcher gives standard input to the first rank alone.
  const std::string prompt =
      is_file ? "" : first_rank_does(world, [&] { return prompt_of(command); });
  const SavedModel saved = load_saved_model(
      "generate", command.model, {command.precision, command.overrides, command.adapter}, world);
  if (is_file) {
    write_file(command, saved);
  } else {
    write_samples(command, saved, prompt);
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
          "echo 'Once upon' | orthant generate runs/quickstart --prompt-file - --temperature 0\n"
          "orthant generate runs/smollm2 --prompts questions.jsonl --output answers.jsonl\n"
          "mpirun -n 2 orthant generate runs/quickstart parallel.tensor_parallel_size=2 "
          "--prompt 'The day'",
      .declare = [](Options& o) {
        const auto c = std::make_shared<Generate>();
        o.text("model", c->model, required_text(), "a run directory, or one of its checkpoints");
        o.texts("overrides", c->overrides, any_text(),
                "parallel.KEY=VALUE: how the ranks that mpirun started share the model");
        o.text("--prompt", c->prompt, any_text(), "text to go on from");
        o.text("--prompt-file", c->prompt_file, any_text(),
               "file with the text to go on from, - for standard input; a newline at its end is "
               "left out");
        o.excludes("--prompt-file", "--prompt");
        o.text("--prompts", c->prompts, any_path(),
               ".jsonl, also .gz or .zst; a line is {\"prompt\": ...}, {\"messages\": [...]} or "
               "{\"tokens\": [...]}, with what else is to be copied");
        o.text("--output", c->output, any_path(),
               ".jsonl for the texts: the lines of --prompts with text and finish_reason");
        o.needs("--prompts", "--output");
        o.needs("--output", "--prompts");
        o.excludes("--prompts", "--prompt");
        o.excludes("--prompts", "--prompt-file");
        o.flag("--log-probs", c->log_probs,
               "with --output: the new tokens' ids, and each one's log-probability");
        o.needs("--log-probs", "--output");
        o.integer("--max-sequences", c->max_sequences, at_least(1),
                  "texts that are written at once");
        o.fields(field_list(c->sampling));
        o.texts("--stop", c->stop, Options::Each::kOnce,
                "end where this text begins, without it; may be given again");
        o.integer("--seed", c->seed, IntBounds{}, "the same seed gives the same text");
        o.integer("--samples", c->samples, at_least(1), "how many");
        o.text(
            "--mla", c->mla, one_of(latent_form_names().all()),
            "how new tokens see the cache of latent attention: keys and values made of it again, "
            "with the bits of training, or the latents themselves, with less work; compared: both, "
            "and how far they are apart");
        o.text("--adapter", c->adapter, any_path(), kAdapterHelp);
        o.text("--precision", c->precision, one_of({"fp64", "fp32", "bf16"}),
               "of the weights; that of the run by default");
        return [c] { return run(*c); };
      }};
}

}  // namespace orthant
