// SPDX-License-Identifier: Apache-2.0
#include "launch/cli.h"

#include <CLI/CLI.hpp>
#include <algorithm>
#include <cstdio>
#include <functional>

#include "base/error.h"
#include "base/log.h"
#include "launch/commands.h"
#include "launch/process.h"

namespace orthant {
namespace {

struct Commands {
  PretrainCommand pretrain;
  PrepareCommand prepare;
  GenerateCommand generate;
  InspectConfigCommand config;
  InspectRoutingCommand routing;
  InspectScheduleCommand schedule;
  VerifyLayoutCommand verify_layout;
  TokenizerTrainCommand tokenizer;
  std::string tokenizer_spec;
  std::vector<std::string> files;
  std::string corpus, checkpoint;
  std::function<int()> chosen;
};

void add_pretrain(CLI::App& app, Commands& c) {
  CLI::App* sub = app.add_subcommand(
      "pretrain",
      "train a model from a YAML file; the same command again goes on where it stopped");
  sub->add_option("config", c.pretrain.config, "YAML file, for example configs/quickstart.yaml")
      ->required();
  sub->add_option("overrides", c.pretrain.overrides,
                  "key.path=value, for example optimizer.learning_rate=3e-4");
  CLI::Option* dry_run = sub->add_flag(
      "--dry-run", c.pretrain.dry_run,
      "print the resolved configuration, what would be done and the memory of each stage");
  sub->add_option("--ranks", c.pretrain.ranks,
                  "with --dry-run: ranks of the run; without: what the layout takes")
      ->check(CLI::Range(1, 1 << 20))
      ->needs(dry_run);
  sub->add_flag("--quiet", c.pretrain.quiet, "only warnings and errors on the console");
  sub->add_flag("--allow-failpoints", c.pretrain.allow_failpoints,
                "honour ORTHANT_FAILPOINT (for tests)");
  sub->footer(
      "On several ranks: launch/mpirun.sh -n 8 build/bin/orthant pretrain CONFIG.\n"
      "Exit codes: 0 done, 64 configuration, 65 data, 66 missing input, 75 stopped by a signal and "
      "saved (run the\nsame command to go on), 76 communication, 77 numeric; "
      "docs/architecture.md.");
  sub->callback([&c] { c.chosen = [&c] { return run_pretrain(c.pretrain); }; });
}

void add_bad_lines(CLI::App* sub, std::string& policy) {
  sub->add_option(
         "--bad-lines", policy,
         "fail or skip: whether a .jsonl line without a text ends the work, or is left out "
         "and counted")
      ->capture_default_str()
      ->check(CLI::IsMember({"fail", "skip"}));
}

void add_prepare(CLI::App& app, Commands& c) {
  CLI::App* sub = app.add_subcommand("prepare", "turn text into a training corpus (.h5)");
  sub->add_option("inputs", c.prepare.inputs,
                  ".txt (one document each) or .jsonl ({\"text\": ...} a line), either also .gz; "
                  "folders of them, or quoted patterns such as 'books/**/*.txt'")
      ->required();
  sub->add_option("-o,--output", c.prepare.output, "the corpus to write")->required();
  sub->add_option("--tokenizer", c.prepare.tokenizer, "byte, or a SentencePiece file (.model)")
      ->capture_default_str();
  sub->add_option("--validation-fraction", c.prepare.validation_fraction,
                  "share of the text kept for validation")
      ->capture_default_str();
  sub->add_option("--validation", c.prepare.validation,
                  "text to validate on, instead of a fraction");
  sub->add_option("--format", c.prepare.format, "auto, text or jsonl")->capture_default_str();
  add_bad_lines(sub, c.prepare.bad_lines);
  sub->add_flag("--quiet", c.prepare.quiet, "only warnings and errors");
  sub->callback([&c] { c.chosen = [&c] { return run_prepare(c.prepare); }; });
}

void add_tokenizer(CLI::App& app, Commands& c) {
  CLI::App* sub = app.add_subcommand("tokenizer", "train a SentencePiece tokenizer, or try one");
  sub->require_subcommand(1);
  TokenizerTrainCommand& t = c.tokenizer;
  CLI::App* train = sub->add_subcommand(
      "train", "learn a vocabulary from text; the same text gives the same file");
  train
      ->add_option("inputs", t.inputs,
                   ".txt or .jsonl, either also .gz; folders of them, or quoted patterns")
      ->required();
  train->add_option("--vocab-size", t.vocab_size, "number of ids, special ones and bytes included")
      ->required();
  train->add_option("-o,--output", t.output, "the file to write; ends in .model")->required();
  train->add_option("--model", t.model, "unigram or bpe")
      ->capture_default_str()
      ->check(CLI::IsMember({"unigram", "bpe"}));
  train
      ->add_option("--character-coverage", t.character_coverage,
                   "share of the text's characters that get pieces of their own")
      ->capture_default_str()
      ->check(CLI::Range(0.9, 1.0));
  train->add_flag("--byte-fallback", t.byte_fallback,
                  "spell other characters in bytes, so that all text comes back exactly (default)");
  train->add_flag_callback(
      "--no-byte-fallback", [&t] { t.byte_fallback = false; },
      "other characters become the unknown id");
  train->add_flag("--split-digits", t.split_digits, "every digit is a piece of its own");
  train
      ->add_option("--sample-bytes", t.sample_bytes,
                   "about how much text to learn from; lines are drawn where there is more")
      ->capture_default_str()
      ->check(CLI::Range(1.0, 1e12));
  train->add_option("--format", t.format, "auto, text or jsonl")->capture_default_str();
  add_bad_lines(train, t.bad_lines);
  train->add_flag("--library-log", t.library_log, "show the library's own messages");
  train->add_flag("--quiet", t.quiet, "only warnings and errors");
  train->callback([&c] { c.chosen = [&c] { return run_tokenizer_train(c.tokenizer); }; });
  const auto add = [&](const char* name, const char* help, auto run) {
    CLI::App* command = sub->add_subcommand(name, help);
    command->add_option("tokenizer", c.tokenizer_spec, "a .model file, or byte")->required();
    command->add_option("files", c.files, "what to read; standard input by default");
    command->callback(
        [&c, run] { c.chosen = [&c, run] { return run(c.tokenizer_spec, c.files); }; });
  };
  add("encode", "lines of text to lines of ids", run_tokenizer_encode);
  add("decode", "lines of ids to lines of text", run_tokenizer_decode);
}

void add_generate(CLI::App& app, Commands& c) {
  CLI::App* sub =
      app.add_subcommand("generate", "text from a trained model; only the text goes to stdout");
  sub->add_option("model", c.generate.model, "a run directory, or one of its checkpoints")
      ->required();
  sub->add_option("--prompt", c.generate.prompt, "text to go on from");
  sub->add_option("--max-new-tokens", c.generate.max_new_tokens, "most tokens to generate")
      ->capture_default_str()
      ->check(CLI::Range(1, 1 << 30));
  sub->add_option("--temperature", c.generate.temperature, "0 = always the likeliest")
      ->capture_default_str()
      ->check(CLI::Range(0.0, 1e9));
  sub->add_option("--top-k", c.generate.top_k, "draw from the k likeliest; 0 = all")
      ->capture_default_str()
      ->check(CLI::Range(0.0, 1e9));
  sub->add_option("--top-p", c.generate.top_p, "draw from the smallest set with this probability")
      ->capture_default_str()
      ->check(CLI::Range(1e-6, 1.0));
  sub->add_option("--seed", c.generate.seed, "the same seed gives the same text")
      ->capture_default_str();
  sub->add_option("--samples", c.generate.samples, "how many")
      ->capture_default_str()
      ->check(CLI::Range(1, 1 << 30));
  sub->add_option("--precision", c.generate.precision,
                  "fp64, fp32 or bf16; that of the run by default")
      ->check(CLI::IsMember({"fp64", "fp32", "bf16"}));
  sub->callback([&c] { c.chosen = [&c] { return run_generate(c.generate); }; });
}

void add_inspect_schedule(CLI::App& inspect, Commands& c) {
  InspectScheduleCommand& s = c.schedule;
  CLI::App* schedule = inspect.add_subcommand(
      "schedule", "timeline, bubble and activations of pipeline schedules and runs");
  schedule
      ->add_option(
          "names", s.names,
          "gpipe, 1f1b, interleaved, zb_h1, dualpipev; or run directories, for what was measured "
          "below what was predicted; several are drawn to one scale")
      ->required();
  schedule->add_option("--ranks", s.ranks, "ranks of the pipeline")
      ->capture_default_str()
      ->check(CLI::Range(1, 1024));
  schedule->add_option("--micro-batches", s.micro_batches, "micro-batches of a step")
      ->capture_default_str()
      ->check(CLI::Range(1, 65536));
  schedule->add_option("--chunks", s.chunks, "stages on a rank; by default what the schedule needs")
      ->check(CLI::Range(1, 1024));
  schedule
      ->add_option(
          "--costs", s.costs,
          "F,B,W[,transfer]: time of a micro-batch's forward, backward by the input and by "
          "the weights in all stages of a rank; of a message")
      ->delimiter(',')
      ->allow_extra_args(false)
      ->capture_default_str();
  schedule->add_option("--svg", s.svg, "also write a picture to this file");
  schedule->add_option("--columns", s.columns, "width of the terminal")
      ->capture_default_str()
      ->check(CLI::Range(20, 10000));
  schedule->footer(
      "F3 forward of micro-batch 3, B3 backward (by the input alone where a W3 follows), W3 by the "
      "weights;\nsmall letters: chunks above the first; dots: idle.  Activations and weights put "
      "off count micro-batches in\nall stages of a rank.  docs/pipeline.md.");
  schedule->callback([&c] { c.chosen = [&c] { return run_inspect_schedule(c.schedule); }; });
}

void add_inspect(CLI::App& app, Commands& c) {
  CLI::App* sub = app.add_subcommand(
      "inspect", "look at a configuration, corpus, checkpoint, routing or schedule");
  sub->require_subcommand(1);
  CLI::App* config = sub->add_subcommand("config", "check a YAML file and print it resolved");
  config->add_option("config", c.config.config, "YAML file");
  config->add_option("overrides", c.config.overrides, "key.path=value");
  config
      ->add_option("--ranks", c.config.ranks,
                   "number of ranks to resolve it for; without: what the layout takes")
      ->check(CLI::Range(1, 1 << 30));
  config->add_flag("--reference", c.config.reference, "print the page of all keys instead");
  config->callback([&c] { c.chosen = [&c] { return run_inspect_config(c.config); }; });
  CLI::App* corpus = sub->add_subcommand("corpus", "sizes, provenance and checksums of a corpus");
  corpus->add_option("path", c.corpus, ".h5 file")->required();
  corpus->callback([&c] { c.chosen = [&c] { return run_inspect_corpus(c.corpus); }; });
  CLI::App* checkpoint = sub->add_subcommand("checkpoint", "content and checksums of a checkpoint");
  checkpoint
      ->add_option("path", c.checkpoint,
                   "a checkpoint, such as runs/quickstart/checkpoints/step-00000100, or a run "
                   "directory, for its newest valid one")
      ->required();
  checkpoint->callback([&c] { c.chosen = [&c] { return run_inspect_checkpoint(c.checkpoint); }; });
  CLI::App* routing = sub->add_subcommand(
      "routing", "which experts of a model the tokens of some text go to, by layer");
  routing->add_option("model", c.routing.model, "a run directory, or one of its checkpoints")
      ->required();
  routing->add_option("files", c.routing.files,
                      ".txt (one document each) or .jsonl ({\"text\": ...} a line), either also "
                      ".gz, or corpora (.h5); with several, the share of each by expert");
  routing->add_option("--text", c.routing.texts, "text itself; may be given again")
      ->allow_extra_args(false);
  routing->add_option("--tokens", c.routing.most_tokens, "most tokens of a file")
      ->capture_default_str()
      ->check(CLI::Range(1, 1 << 30));
  routing->add_option("--format", c.routing.format, "auto, text, jsonl or hdf5")
      ->capture_default_str();
  add_bad_lines(routing, c.routing.bad_lines);
  routing->add_flag("--json", c.routing.json, "one JSON object instead of tables");
  routing->callback([&c] { c.chosen = [&c] { return run_inspect_routing(c.routing); }; });
  add_inspect_schedule(*sub, c);
}

void add_verify(CLI::App& app, Commands& c) {
  CLI::App* sub = app.add_subcommand("verify", "show that what should be equal is");
  sub->require_subcommand(1);
  CLI::App* layout = sub->add_subcommand(
      "layout", "run some steps of a configuration on one rank and on other layouts, and compare");
  layout->add_option("config", c.verify_layout.config, "YAML file")->required();
  layout->add_option("overrides", c.verify_layout.overrides, "key.path=value");
  layout
      ->add_option("--layouts", c.verify_layout.layouts,
                   "for example dp2,dp4+ep2,dp4+ep2+etp2+recompute,dp1+mb1; by default all that "
                   "fit up to --ranks")
      ->delimiter(',')
      ->allow_extra_args(false);
  layout->add_option("--ranks", c.verify_layout.ranks, "largest number of ranks")
      ->capture_default_str()
      ->check(CLI::Range(1, 64));
  layout->add_option("--steps", c.verify_layout.steps, "steps to compare after")
      ->capture_default_str()
      ->check(CLI::Range(1, 1000));
  layout->add_flag("--scale-down", c.verify_layout.scale_down,
                   "a smaller model and batch of the same kinds");
  layout->footer(
      "Ranks are threads of this process; under mpirun -n N layouts of N ranks run as they would "
      "in training.\nExit code 77 when a layout differs.");
  layout->callback([&c] { c.chosen = [&c] { return run_verify_layout(c.verify_layout); }; });
}

}  // namespace

int run_cli(int argc, char** argv) {
  CLI::App app(
      "Orthant trains Mixture-of-Experts language models, from one laptop core to a cluster.",
      "orthant");
  app.set_version_flag("--version", "orthant 0.1.0");
  app.require_subcommand(1);
  app.failure_message(CLI::FailureMessage::help);
  Commands commands;
  add_pretrain(app, commands);
  add_prepare(app, commands);
  add_tokenizer(app, commands);
  add_generate(app, commands);
  add_inspect(app, commands);
  add_verify(app, commands);
  app.add_subcommand("doctor", "what this machine offers and what would be used")->callback([&] {
    commands.chosen = run_doctor;
  });
  std::vector<std::string> names;
  for (const CLI::App* sub : app.get_subcommands({})) names.push_back(sub->get_name());
  if (argc > 1 && argv[1][0] != '-' &&
      std::find(names.begin(), names.end(), argv[1]) == names.end()) {
    const std::string nearest = nearest_name_in(argv[1], names);
    log::error("unknown command '", argv[1], "'",
               nearest.empty() ? "" : concat("; did you mean '", nearest, "'?"),
               "; see orthant --help");
    return static_cast<int>(ErrorKind::kUsage);
  }
  try {
    app.parse(argc, argv);
  } catch (const CLI::Success& done) {
    return app.exit(done);
  } catch (const CLI::ParseError& error) {
    log::error(error.what(), "; see orthant --help");
    return static_cast<int>(ErrorKind::kUsage);
  }
  return run_guarded(commands.chosen);
}

}  // namespace orthant
