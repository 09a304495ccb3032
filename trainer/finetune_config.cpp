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
            "passes over the training data, in place of run.max_steps; 0 = run.max_steps says");
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
}

}  // namespace orthant
