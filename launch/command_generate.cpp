// SPDX-License-Identifier: Apache-2.0
#include <fstream>
#include <iostream>
#include <iterator>
#include <memory>
#include <optional>

#include "base/clock.h"
#include "base/error.h"
#include "base/log.h"
#include "base/user_output.h"
#include "data/line_reader.h"
#include "launch/command.h"
#include "launch/input_files.h"
#include "launch/process.h"
#include "trainer/agree.h"
#include "trainer/generate_file.h"
#include "trainer/prompt_notes.h"
#include "trainer/run/progress.h"
#include "trainer/run/work_progress.h"
#include "trainer/saved_model.h"

namespace orthant {
namespace {

struct Generate {
  std::string model, prompt, prompt_file, prompts, output, precision, use;
  std::vector<std::string> overrides, adapters;
  SamplingConfig sampling;
  std::vector<std::string> stop;
  int64_t seed = 1234, samples = 1;
  bool log_probs = false, special = false;
  std::string bad_lines = bad_lines_names().of(BadLines::kFail);
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

void look_at(const Generate& command, const SavedModel& saved, const std::string& prompt) {
  const std::string where = command.prompt_file.empty() ? "--prompt" : "--prompt-file";
  PromptNotes notes("generate", *saved.tokenizer, saved.config.model.max_position_embeddings);
  notes.encode(prompt, command.special, where);
  const GenerateOptions options{.prompt = prompt, .special = command.special, .begin = saved.begin};
  notes.length(std::ssize(prompt_tokens(*saved.tokenizer, options)), where);
}

// Samples one after another; the first as it comes.
void write_samples(const Generate& command, const SavedModel& saved, const std::string& prompt) {
  const bool is_first = saved.role->groups().world.rank() == 0;
  const int64_t adapter = adapter_number(saved, command.use, "generate: --use");
  if (is_first && saved.has_named_adapters() && command.use.empty())
    log::warn("generate: the model alone answers; --use NAME lets one of the adapters");
  if (is_first) look_at(command, saved, prompt);
  if (is_first) write_out(prompt);
  std::vector<GenerateOptions> wanted;
  for (int64_t sample = 0; sample < command.samples; ++sample)
    wanted.push_back({.prompt = prompt,
                      .special = command.special,
                      .begin = saved.begin,
                      .adapter = adapter,
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

void write_file(const Generate& command, const SavedModel& saved, int64_t num_prompts) {
  const Group& world = saved.role->groups().world;
  PromptFileOptions options{
      .prompts = command.prompts,
      .output = command.output,
      .each = {.special = command.special,
               .adapter = adapter_number(saved, command.use, "generate: --use"),
               .sampling = command.sampling,
               .stop = command.stop,
               .seed = command.seed},
      .samples = command.samples,
      .log_probs = command.log_probs,
      .bad_lines = bad_lines_names().at(command.bad_lines),
      .decoder = command.decoder()};
  options.stop = &stop_requested;
  std::optional<WorkProgress> progress;
  if (world.rank() == 0)
    options.progress = [&](const PromptFileResult& so_far) {
      if (!progress)
        progress.emplace(WorkProgressOptions{.command = "generate",
                                             .noun = "text",
                                             .total = num_prompts * command.samples,
                                             .begins_at = so_far.were_there});
      progress->at(so_far.texts, so_far.tokens);
    };
  const double began = now_seconds();
  const PromptFileResult result = generate_file(saved, options);
  const auto tokens = static_cast<int64_t>(world.sum(static_cast<double>(result.tokens)));
  if (world.rank() == 0)
    log::info("generate: ", counted(result.texts, "text"), " in ", command.output, ", ",
              with_thousands(tokens), " tokens in ", clock_text(now_seconds() - began));
}

int run(const Generate& command) {
  for (const std::string& stop : command.stop)
    ORTHANT_CHECK(!stop.empty(), kUsage, "generate: --stop: want a text, got an empty one");
  const bool is_file = !command.prompts.empty();
  // A device or pipe keeps nothing, so that a signal may end the process as it is used to.
  if (is_file && output_place(command.output).is_replaced) install_signal_handlers();
  const Group world = start_ranks(600.0);
  const int64_t num_prompts = is_file ? count_lines(command.prompts) : 0;
  if (is_file)
    first_rank_does(world, [&] {
      check_output("generate: --output", command.output, {command.prompts});
      return std::string();
    });
  // A launcher gives standard input to the first rank alone.
  const std::string prompt =
      is_file ? "" : first_rank_does(world, [&] { return prompt_of(command); });
  const SavedModel saved = load_saved_model(
      "generate", command.model,
      {command.precision, command.overrides, adapter_places("generate", command.adapters)}, world);
  if (is_file) {
    write_file(command, saved, num_prompts);
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
          "orthant launch -n 2 -- generate runs/quickstart parallel.tensor_parallel_size=2 "
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
               ".jsonl for the texts: the lines of --prompts with text and finish_reason; - is "
               "standard "
               "output.  A file that was interrupted (exit code 75) is gone on with by the same "
               "command");
        o.needs("--prompts", "--output");
        o.needs("--output", "--prompts");
        o.excludes("--prompts", "--prompt");
        o.excludes("--prompts", "--prompt-file");
        bad_lines_option(o, c->bad_lines);
        special_option(o, c->special);
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
        o.texts("--adapter", c->adapters, Options::Each::kOnce,
                concat(kAdapterHelp,
                       ".  Several by name: --adapter french=DIR --adapter poet=DIR; a line of "
                       "--prompts says {\"adapter\": \"poet\"}, and they answer in one batch"));
        o.text("--use", c->use, any_text(),
               "the adapter that answers where a line names none; nothing = the model alone");
        o.needs("--use", "--adapter");
        o.text("--precision", c->precision, one_of({"fp64", "fp32", "bf16"}),
               "of the weights; that of the run by default");
        return [c] { return run(*c); };
      }};
}

}  // namespace orthant
