// SPDX-License-Identifier: Apache-2.0
#include "trainer/finetune_config.h"

namespace orthant {

void FinetuneSection::fields(FieldVisitor& v) {
  v.field("chat_template", chat_template, any_path(),
          "how conversations become text: a template (.jinja), a tokenizer_config.json or a folder "
          "with either; empty: what came with the model");
  v.field("loss_on", loss_on, loss_on_names(),
          "what is trained: every turn of the assistant, the last of them, or all tokens");
  v.field("overlong", overlong, overlong_names(),
          "examples of more than batch.sequence_length + 1 tokens: left out and counted, or cut "
          "behind that");
  v.may_change_on_resume([&] {
    v.field("epochs", epochs, non_negative(),
            "passes over the training data, where run.max_steps is 0; 0 = run.max_steps says");
    v.field("patience", patience, at_least(0),
            "evaluations without a better validation loss after which the run ends; 0 = it does "
            "not end early");
  });
  v.alias("num_train_epochs", "epochs");
  v.alias("num_epochs", "epochs");
  v.alias("early_stopping_patience", "patience");
  v.alias("template", "chat_template");
}

void FinetuneConfig::fields(FieldVisitor& v) {
  RunConfig::fields(v);
  v.block("finetune", "supervised fine-tuning (orthant finetune alone)",
          [this](FieldVisitor& inner) { finetune.fields(inner); });
  v.block("distill", "learning from a teacher (orthant distill alone)",
          [this](FieldVisitor& inner) { distill.fields(inner); });
  // Flat, as LLaMA-Factory, axolotl and transformers have them.
  for (const auto& [other, name] : {std::pair{"model_name_or_path", "model.from"},
                                    {"base_model", "model.from"},
                                    {"dataset", "data.train"},
                                    {"val_size", "data.validation_fraction"},
                                    {"val_set_size", "data.validation_fraction"},
                                    {"template", "finetune.chat_template"},
                                    {"chat_template", "finetune.chat_template"},
                                    {"output_dir", "run.dir"},
                                    {"seed", "run.seed"},
                                    {"max_steps", "run.max_steps"},
                                    {"num_train_epochs", "finetune.epochs"},
                                    {"num_epochs", "finetune.epochs"},
                                    {"lora_rank", "lora.rank"},
                                    {"lora_r", "lora.rank"},
                                    {"lora_alpha", "lora.alpha"},
                                    {"lora_dropout", "lora.dropout"},
                                    {"lora_target", "lora.target_modules"},
                                    {"lora_target_modules", "lora.target_modules"},
                                    {"lora_modules_to_save", "lora.modules_to_save"},
                                    {"loraplus_lr_ratio", "lora.plus_ratio"},
                                    {"cutoff_len", "batch.sequence_length"},
                                    {"sequence_len", "batch.sequence_length"},
                                    {"max_seq_length", "batch.sequence_length"},
                                    {"per_device_train_batch_size", "batch.micro_batch_size"},
                                    {"micro_batch_size", "batch.micro_batch_size"},
                                    {"sample_packing", "data.packing"},
                                    {"learning_rate", "optimizer.learning_rate"},
                                    {"weight_decay", "optimizer.weight_decay"},
                                    {"max_grad_norm", "optimizer.grad_clip"},
                                    {"lr_scheduler_type", "schedule.name"},
                                    {"lr_scheduler", "schedule.name"},
                                    {"warmup_steps", "schedule.warmup_steps"},
                                    {"save_steps", "checkpoint.interval"},
                                    {"save_total_limit", "checkpoint.keep"},
                                    {"eval_steps", "evaluation.interval"},
                                    {"logging_steps", "logging.interval"}})
    v.alias(other, name);
  const ForeignRule bits =
      neutral({"false"}, "use quantization: {format: nf4}, which holds weights in 4 bits, or int8");
  for (const char* key : {"load_in_4bit", "load_in_8bit", "quantization_bit"}) v.foreign(key, bits);
}

}  // namespace orthant
