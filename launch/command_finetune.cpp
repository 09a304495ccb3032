// SPDX-License-Identifier: Apache-2.0
#include <memory>

#include "base/error.h"
#include "launch/command.h"
#include "launch/supervised_run.h"

namespace orthant {
namespace {

struct Finetune {
  SupervisedRun run;
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
  if (command.run.config.empty()) all = defaults();
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
  all.insert(all.end(), command.run.overrides.begin(), command.run.overrides.end());
  return all;
}

int run(Finetune& command) {
  ORTHANT_CHECK(!command.run.config.empty() || (!command.model.empty() && !command.dataset.empty()),
                kUsage, "finetune: want a YAML file, or --model and --dataset");
  command.run.overrides = overrides_of(command);
  command.run.check = [](const FinetuneConfig& config) {
    ORTHANT_CHECK(!config.distill.is_on(), kConfig,
                  "distill.teacher: fine-tuning has no teacher; orthant distill learns from one");
  };
  return run_supervised(command.run);
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
        declare_supervised(o, c->run, "configs/lora.yaml", any_text());
        declare_fields(o, *c);
        return [c] { return run(*c); };
      }};
}

}  // namespace orthant
