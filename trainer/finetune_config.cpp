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
}

void FinetuneConfig::fields(FieldVisitor& v) {
  RunConfig::fields(v);
  v.block("finetune", "supervised fine-tuning (orthant finetune alone)",
          [this](FieldVisitor& inner) { finetune.fields(inner); });
}

}  // namespace orthant
