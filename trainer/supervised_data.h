// SPDX-License-Identifier: Apache-2.0
// The conversations of a run of fine-tuning, read, tokenised and checked on every rank.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "data/data_report.h"
#include "data/supervised_batches.h"
#include "data/tokenizer.h"
#include "parallel/comm/group.h"
#include "trainer/base_model.h"
#include "trainer/finetune_config.h"

namespace orthant {

struct SupervisedData {
  std::shared_ptr<Tokenizer> tokenizer;
  std::vector<SupervisedSource> train;
  std::shared_ptr<const Examples> validation;  // null where nothing is held out
  int64_t conversations = 0;                   // rows that gave examples, held-out ones included
  DataReport report;
  std::string fingerprint;  // of everything that decides a sample, but for the seed and sizes
  std::string examples;     // XXH3-128 of all examples, held-out ones too, in their order

  // Of all examples; those held out are the last (SupervisedSource::first_label).
  int64_t num_labels() const {
    return first_held_out() + (validation ? validation->num_trained() : 0);
  }
  int64_t first_held_out() const {
    return train.back().first_label + train.back().examples->num_trained();
  }
};

// Everything that turns rows into examples, for one configuration.  Error(kMissingInput): no
// template where finetune.chat_template names none that can be read; kConfig, kData.
class RowEncoder {
 public:
  explicit RowEncoder(const FinetuneConfig& config);
  const std::shared_ptr<Tokenizer>& tokenizer() const { return tokenizer_; }
  const ConversationTexts& texts() const { return *texts_; }
  const ExampleOptions& options() const { return options_; }

 private:
  std::shared_ptr<Tokenizer> tokenizer_;
  std::unique_ptr<ChatTemplates> templates_;  // null: the model came without one
  std::unique_ptr<ConversationTexts> texts_;
  ExampleOptions options_;
};

// Each rank reads the same files.  Errors before training starts, the same on all ranks: missing
// files (kMissingInput), bad lines, a source that gives no example, held-out rows that are wanted
// and are not there (kData, kConfig), ranks that read something else (kConfig).  Collective.
SupervisedData open_supervised_data(const FinetuneConfig& config, const Group& group);

// A template that the configuration gives becomes that of the run (RUN/hub), for orthant chat and
// export; without one it does nothing.  Of one rank.  Error(kCannotWrite).
void keep_chat_template(const FinetuneConfig& config, const std::string& run_dir);

// Logs what was left out, and writes all of it to RUN/data-report.jsonl.  Of one rank.
void tell_data_report(const SupervisedData& data, const std::string& run_dir);

// length_multiple: what context-parallel ranks want of a row without packing; 1 = nothing.
SupervisedBatches make_supervised_batches(const FinetuneConfig& config, const SupervisedData& data,
                                          const BatchSizes& sizes, int64_t length_multiple = 1);
SupervisedEvaluation make_supervised_evaluation(const FinetuneConfig& config,
                                                const SupervisedData& data, const Group& group);
// All of some of the data's examples, once, in rows as evaluation has them.
SupervisedEvaluation make_supervised_pass(const FinetuneConfig& config, const SupervisedData& data,
                                          std::shared_ptr<const Examples> examples,
                                          int64_t first_label, const Group& group);

// "1,203 conversations, 2,310 examples of 411,034 tokens, 187,022 trained (45.5%); 412 rows an
// epoch, 97.4% filled; the longest 2,043 tokens", in lines.
std::vector<std::string> summary_of(const FinetuneConfig& config, const SupervisedData& data);

}  // namespace orthant
