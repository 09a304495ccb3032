// SPDX-License-Identifier: Apache-2.0
#include <memory>

#include "base/error.h"
#include "base/log.h"
#include "launch/command.h"
#include "launch/memory_text.h"
#include "launch/process.h"
#include "launch/run_file.h"
#include "tensor/cpu/isa.h"
#include "trainer/finetune.h"
#include "trainer/supervised_data.h"

namespace orthant {
namespace {

struct Finetune {
  std::string config;
  std::vector<std::string> overrides;
  bool dry_run = false, quiet = false;
  // In place of a file, as other tools call them; what is empty was not given.
  std::string model, dataset, output_dir, lora_rank, lora_alpha, lora_dropout, lora_target;
  std::string learning_rate, epochs, max_steps, batch_size, length, precision, seed;
};

// What a run without a file is, key by key; options and overrides stand over it.
const std::vector<std::string>& defaults() {
  static const std::vector<std::string> values = {"run.name=finetune",
                                                  "lora.rank=8",
                                                  "batch.micro_batch_size=4",
                                                  "batch.global_batch_size=16",
                                                  "optimizer.learning_rate=2e-4",
                                                  "optimizer.weight_decay=0",
                                                  "schedule.name=cosine",
                                                  "finetune.epochs=3",
                                                  "evaluation.interval=50",
                                                  "generation.temperature=0",
                                                  "generation.max_new_tokens=64"};
  return values;
}

std::vector<std::string> overrides_of(const Finetune& command) {
  std::vector<std::string> all;
  if (command.config.empty()) all = defaults();
  const auto set = [&](const char* key, const std::string& value) {
    if (!value.empty()) all.push_back(concat(key, "=", value));
  };
  set("model.from", command.model);
  set("data.train", command.dataset);
  set("run.dir", command.output_dir);
  set("lora.rank", command.lora_rank);
  set("lora.alpha", command.lora_alpha);
  set("lora.dropout", command.lora_dropout);
  if (!command.lora_target.empty()) set("lora.target_modules", "[" + command.lora_target + "]");
  set("optimizer.learning_rate", command.learning_rate);
  if (!command.max_steps.empty()) set("finetune.epochs", "0");
  set("run.max_steps", command.max_steps);
  set("finetune.epochs", command.epochs);
  set("batch.micro_batch_size", command.batch_size);
  set("batch.sequence_length", command.length);
  set("precision", command.precision);
  set("run.seed", command.seed);
  all.insert(all.end(), command.overrides.begin(), command.overrides.end());
  return all;
}

// What a run would do, without doing any of it.
void print_plan(const FinetuneFile& file) {
  FinetuneConfig config;
  static_cast<RunConfig&>(config) = file.run.plan.open_config();
  config.finetune = file.section;
  std::printf("%s\n# plan\n", to_yaml(config).c_str());
  const SupervisedData data = open_supervised_data(config, Group::self());
  for (const std::string& line : summary_of(config, data)) std::printf("#   %s\n", line.c_str());
  print_memory(file.run.plan);
}

int run(const Finetune& command) {
  const double start = process_start_seconds();
  log::set_quiet(command.quiet);
  ORTHANT_CHECK(!command.config.empty() || (!command.model.empty() && !command.dataset.empty()),
                kUsage, "finetune: want a YAML file, or --model and --dataset");
  const Group world = start_ranks(600.0);
  const FinetuneFile file =
      load_finetune_file(command.config, overrides_of(command), world, world.size());
  const RunConfig& config = file.run.plan.config();
  world.set_deadline_seconds(config.parallel.timeout_seconds);
  world.set_check_collectives(config.parallel.check_collectives);
  for (const std::string& note : file.run.notes) log::info(note);
  if (command.dry_run) {
    if (world.rank() == 0) print_plan(file);
    return 0;
  }
  if (config.precision == DType::kBF16) log::info("level: ", cpu::text_of(cpu::isa_choice()));
  install_signal_handlers();
  const FinetuneResult result = finetune({.plan = file.run.plan,
                                          .section = file.section,
                                          .stop = &stop_requested,
                                          .start_seconds = start},
                                         world);
  return result.interrupted ? static_cast<int>(ErrorKind::kInterrupted) : 0;
}

void declare_fields(Options& o, Finetune& c) {
  const auto option = [&](const char* names, std::string& value, const char* help) {
    o.text(names, value, any_text(), help);
  };
  option("--model", c.model, "model.from: a published model's folder, or a run directory");
  option("--dataset", c.dataset, "data.train: conversations, an object a line (.jsonl)");
  option("--output-dir", c.output_dir, "run.dir");
  option("--lora-rank,--lora-r", c.lora_rank, "lora.rank; 0 trains the model itself");
  option("--lora-alpha", c.lora_alpha, "lora.alpha");
  option("--lora-dropout", c.lora_dropout, "lora.dropout");
  option("--lora-target", c.lora_target, "lora.target_modules, with commas between them");
  option("--learning-rate", c.learning_rate, "optimizer.learning_rate");
  option("--num-train-epochs", c.epochs, "finetune.epochs");
  option("--max-steps", c.max_steps, "run.max_steps");
  option("--per-device-train-batch-size", c.batch_size, "batch.micro_batch_size");
  option("--cutoff-len,--max-seq-length", c.length, "batch.sequence_length");
  option("--precision", c.precision, "fp32, bf16 or fp64");
  option("--seed", c.seed, "run.seed");
}

}  // namespace

Command finetune_command() {
  return {
      .name = "finetune",
      .help = "fine-tune a model on conversations, with adapters (LoRA) or whole",
      .footer =
          "orthant finetune configs/lora.yaml\n"
          "orthant finetune --model runs/smollm2 --dataset chats.jsonl --lora-alpha 16 "
          "--output-dir runs/mine\n"
          "On several ranks: orthant launch -n 2 -- finetune CONFIG.  orthant inspect data CONFIG "
          "shows what is trained.\n"
          "Exit codes: 0 done, 64 configuration, 65 data, 66 missing input, 75 stopped by a signal "
          "and saved (run the\nsame command to go on), 76 communication, 77 numeric; "
          "docs/architecture.md.",
      .declare = [](Options& o) {
        const auto c = std::make_shared<Finetune>();
        o.text("config", c->config, any_text(), "YAML file, for example configs/lora.yaml");
        o.texts("overrides", c->overrides, any_text(),
                "key.path=value, for example optimizer.learning_rate=3e-4");
        declare_fields(o, *c);
        o.flag(
            "--dry-run", c->dry_run,
            "print the resolved configuration, what the data holds and what memory the run needs, "
            "and train nothing");
        o.flag("--quiet", c->quiet, "only warnings and errors on the console");
        return [c] { return run(*c); };
      }};
}

}  // namespace orthant
