// SPDX-License-Identifier: Apache-2.0
// A run of supervised fine-tuning as its user describes it, with a teacher or without: what a run
// of pre-training has, and blocks of its own.  data: conversations (docs/formats.md).
#pragma once

#include <string>
#include <vector>

#include "base/config/config.h"
#include "data/example_reader.h"
#include "trainer/distill_config.h"
#include "trainer/run_config.h"

namespace orthant {

struct FinetuneSection {
  std::string chat_template;
  LossOn loss_on = LossOn::kAssistant;
  Overlong overlong = Overlong::kDrop;
  double epochs = 0;
  int64_t patience = 0;
  void fields(FieldVisitor& v);
};

// What such a run has beside a RunConfig.
struct FinetuneSections {
  FinetuneSection finetune;
  DistillSection distill;  // off: no teacher
};

struct FinetuneConfig : RunConfig, FinetuneSections {
  FinetuneConfig() { data.is_supervised = true; }
  FinetuneConfig(RunConfig run, FinetuneSections sections)
      : RunConfig(std::move(run)), FinetuneSections(std::move(sections)) {
    data.is_supervised = true;
  }
  void fields(FieldVisitor& v);
};

// As load_run_config (trainer/base_model.h), also without a file (path ""): the base's model and,
// where the configuration says nothing of them, its tokenizer and batch.sequence_length.  A model
// that begins with drawn weights has a teacher, and takes these and the size of the vocabulary from
// it.  Error(kConfig) also without either; kMissingInput.
LoadedConfig<FinetuneConfig> load_finetune_config(const std::string& path,
                                                  const std::vector<std::string>& overrides);

// What every run's configuration has, of one that may be of any command.
RunConfig parse_any_run_config(const std::string& text, const std::string& where);

}  // namespace orthant
