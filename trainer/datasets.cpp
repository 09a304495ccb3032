// SPDX-License-Identifier: Apache-2.0
#include "trainer/datasets.h"

#include <unistd.h>

#include <cerrno>
#include <cstring>

#include "base/checksum.h"
#include "base/error.h"
#include "base/log.h"
#include "data/cache.h"
#include "trainer/agree.h"
#include "trainer/run/progress.h"

namespace orthant {
namespace {

std::string prepared_path(const RunConfig& config, const std::string& path,
                          const std::string& format, bool validation_only, const Group& group) {
  return first_rank_does(group, [&] {
    double next = 0.0;
    return ensure_prepared(path, {.cache_dir = config.run.dir + "/cache",
                                  .tokenizer = config.data.tokenizer,
                                  .validation_fraction = config.data.validation_fraction,
                                  .format = format,
                                  .bad_lines = config.data.bad_lines,
                                  .redact = config.data.redact,
                                  .validation_only = validation_only,
                                  .progress = [&](double fraction, double rate) {
                                    if (fraction < next) return;
                                    next = fraction + 0.25;
                                    log::info("preparing ", path, ": ",
                                              prepare_progress_text(fraction, rate));
                                  }});
  });
}

void check_tokenizer(const std::string& path, const std::string& prepared_with,
                     const RunConfig& config, const Tokenizer& tokenizer) {
  ORTHANT_CHECK(prepared_with == tokenizer.name(), kConfig, "data.tokenizer: ", path,
                " was prepared with '", prepared_with, "', got ", config.data.tokenizer,
                ", which is '", tokenizer.name(),
                "'; prepare the text with it (orthant prepare --tokenizer)");
}

void check_validation(bool present, const std::string& path, const RunConfig& config) {
  ORTHANT_CHECK(config.evaluation.interval == 0 || present, kConfig,
                "evaluation.interval: ", config.evaluation.interval,
                " wants a validation split, but ", path,
                " has none; set data.validation, or evaluation.interval: 0");
}

std::shared_ptr<Corpus> open_checked(const std::string& path, Split split, const RunConfig& config,
                                     const Tokenizer& tokenizer) {
  std::shared_ptr<Corpus> corpus = Corpus::open(path, split);
  check_tokenizer(path, corpus->tokenizer_name(), config, tokenizer);
  return corpus;
}

}  // namespace

void check_vocabulary(const RunConfig& config, const Tokenizer& tokenizer) {
  ORTHANT_CHECK(tokenizer.vocab_size() <= config.model.vocab_size, kConfig,
                "model.vocab_size: data.tokenizer ", config.data.tokenizer, " has ",
                tokenizer.vocab_size(), " ids, want at least as many, got ",
                config.model.vocab_size);
}

void check_inputs(const RunConfig& config) {
  const auto check = [](const char* key, const std::string& path, const char* what_makes_it) {
    ORTHANT_CHECK(access(path.c_str(), R_OK) == 0, kMissingInput, key, ": ", path,
                  ": cannot be read: ", std::strerror(errno), "; ", what_makes_it);
  };
  const char* what_makes_data =
      "launch/make_corpus.sh makes quickstart's corpus, bench/balance.sh that of "
      "configs/balance-*.yaml, orthant prepare makes one from your text";
  if (config.data.tokenizer != "byte" && config.data.tokenizer != "bytes")
    check("data.tokenizer", config.data.tokenizer,
          "bench/balance.sh makes that of configs/balance-*.yaml, orthant tokenizer train makes "
          "one from your text");
  for (const DataSource& source : config.data.train)
    check("data.train", source.path, what_makes_data);
  if (!config.data.validation.empty())
    check("data.validation", config.data.validation, what_makes_data);
}

void check_corpora(const RunConfig& config, const Tokenizer& tokenizer) {
  for (const DataSource& source : config.data.train) {
    if (!is_corpus_path(source.path, source.format)) continue;
    const CorpusInfo info = inspect_corpus(source.path);
    check_tokenizer(source.path, info.tokenizer, config, tokenizer);
    some_windows(concat(source.path, ": the train split"), info.train.num_tokens,
                 config.batch.sequence_length);
    if (&source == &config.data.train.front() && config.data.validation.empty())
      check_validation(info.validation.num_tokens > 1, source.path, config);
  }
  const std::string& validation = config.data.validation;
  if (validation.empty() || !is_corpus_path(validation)) return;
  const CorpusInfo info = inspect_corpus(validation);
  check_tokenizer(validation, info.tokenizer, config, tokenizer);
  ORTHANT_CHECK(info.validation.num_tokens > 1, kData, validation, ": has no validation split");
}

Datasets open_datasets(const RunConfig& config, const Group& group) {
  first_rank_does(group, [&] {
    check_inputs(config);
    return std::string();
  });
  Datasets data;
  data.tokenizer = make_tokenizer(config.data.tokenizer);
  check_vocabulary(config, *data.tokenizer);
  std::string identity;
  std::string first_path;
  for (const DataSource& source : config.data.train) {
    const std::string path = prepared_path(config, source.path, source.format, false, group);
    if (first_path.empty()) first_path = path;
    data.train.push_back(
        {open_checked(path, Split::kTrain, config, *data.tokenizer), source.weight, source.path});
    identity += concat(data.train.back().corpus->fingerprint(), " ", source.weight, "\n");
  }
  data.fingerprint = xxh3_128_hex(identity.data(), identity.size());
  if (!config.data.validation.empty()) {
    const std::string path = prepared_path(config, config.data.validation, "auto", true, group);
    data.validation = open_checked(path, Split::kValidation, config, *data.tokenizer);
  } else if (data.train.front().corpus->info().validation.num_tokens > 1) {
    data.validation = open_checked(first_path, Split::kValidation, config, *data.tokenizer);
  }
  check_validation(data.validation != nullptr, first_path, config);
  return data;
}

std::unique_ptr<Loader> make_loader(const RunConfig& config, const Datasets& data,
                                    const BatchSizes& sizes, const Group& group) {
  return std::make_unique<Loader>(
      data.train, LoaderOptions{.sequence_length = config.batch.sequence_length,
                                .micro_batch_size = config.batch.micro_batch_size,
                                .sizes = sizes,
                                .seed = static_cast<uint64_t>(config.run.seed),
                                .rank = group.rank(),
                                .num_ranks = group.size(),
                                .prefetch = config.batch.micro_batches() / group.size() + 1});
}

EvaluationBatches make_evaluation(const RunConfig& config, const Datasets& data,
                                  const Group& group) {
  return EvaluationBatches(data.validation, *data.tokenizer,
                           {.sequence_length = config.batch.sequence_length,
                            .micro_batch_size = config.evaluation.micro_batch_size,
                            .max_tokens = config.evaluation.tokens,
                            .rank = group.rank(),
                            .num_ranks = group.size()});
}

}  // namespace orthant
