// SPDX-License-Identifier: Apache-2.0
// The corpora of a run, opened and checked on every rank.
#pragma once

#include <memory>
#include <vector>

#include "data/evaluation.h"
#include "data/loader.h"
#include "data/tokenizer.h"
#include "parallel/comm/group.h"
#include "trainer/run_config.h"

namespace orthant {

struct Datasets {
  std::shared_ptr<Tokenizer> tokenizer;
  std::vector<LoaderSource> train;
  std::shared_ptr<Corpus> validation;  // null where there is none
  std::string fingerprint;             // of everything that decides what a sample is
};

// Error(kConfig) when the model has fewer ids than the tokenizer; more do no harm.
void check_vocabulary(const RunConfig& config, const Tokenizer& tokenizer);

// That tokenizer, training and validation data are there: Error(kMissingInput) that names the key
// and what makes such a file.  Touches nothing.
void check_inputs(const RunConfig& config);

// That the corpora (.h5) of the run fit it: prepared with this tokenizer, long enough, with a
// validation split where one is evaluated.  Reads their headers alone, prepares no text: errors
// that open_datasets would give, for a dry run.
void check_corpora(const RunConfig& config, const Tokenizer& tokenizer);

// Text is prepared once, by rank 0, into <run.dir>/cache.  Errors before training starts: as
// check_inputs; kData, kConfig (vocabulary or tokenizer that does not fit the model).  Collective.
Datasets open_datasets(const RunConfig& config, const Group& group);

// This rank's share of the steps' micro-batches; sizes: where their samples begin.
std::unique_ptr<Loader> make_loader(const RunConfig& config, const Datasets& data,
                                    const BatchSizes& sizes, const Group& group);
// The whole validation split or evaluation.tokens of it, shared by the ranks.
EvaluationBatches make_evaluation(const RunConfig& config, const Datasets& data,
                                  const Group& group);

}  // namespace orthant
