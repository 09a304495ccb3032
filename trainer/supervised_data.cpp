// SPDX-License-Identifier: Apache-2.0
#include "trainer/supervised_data.h"

#include <unistd.h>

#include <cerrno>
#include <cstdio>
#include <cstring>
#include <numeric>

#include "base/checksum.h"
#include "base/durable_file.h"
#include "base/error.h"
#include "base/log.h"
#include "trainer/agree.h"
#include "trainer/datasets.h"
#include "trainer/run/progress.h"
#include "trainer/run/run_dir.h"

namespace orthant {
namespace {

void check_file(const char* key, const std::string& path) {
  ORTHANT_CHECK(access(path.c_str(), R_OK) == 0, kMissingInput, key, ": ", path,
                ": cannot be read: ", std::strerror(errno));
  for (const char* ending : {".h5", ".hdf5", ".txt", ".txt.gz", ".txt.zst", ".parquet", ".arrow"})
    ORTHANT_CHECK(!path.ends_with(ending), kConfig, key, ": ", path,
                  ": want conversations, an object a line (.jsonl, also .gz or .zst), got ",
                  ending);
}

// Null where the model came without one: rows of plain text need none.
std::unique_ptr<ChatTemplates> load_templates(const std::string& given, const std::string& folder) {
  if (!given.empty()) return std::make_unique<ChatTemplates>(ChatTemplates::load(given));
  try {
    return std::make_unique<ChatTemplates>(ChatTemplates::load(folder));
  } catch (const Error& error) {
    if (error.kind() != ErrorKind::kMissingInput) throw;
    return nullptr;
  }
}

std::string percent(double part) {
  char text[32];
  std::snprintf(text, sizeof text, "%.1f%%", 100 * part);
  return text;
}

// Reads all files of the configuration.
SupervisedData read_all(const FinetuneConfig& config) {
  for (const DataSource& source : config.data.train) check_file("data.train", source.path);
  const std::string& validation = config.data.validation;
  if (!validation.empty()) check_file("data.validation", validation);
  const RowEncoder encoder(config);
  SupervisedData data{.tokenizer = encoder.tokenizer()};
  ExampleReader reader(encoder.texts(), *encoder.tokenizer(), encoder.options());
  const auto held_out = std::make_shared<Examples>();
  const bool holds_out = encoder.options().validation_fraction > 0;
  std::string identity = config.data.packing ? "packed\n" : "single\n", examples_identity;
  int64_t labels = 0;
  for (const DataSource& source : config.data.train) {
    const auto examples = std::make_shared<Examples>();
    reader.read(source.path, row_format_names().at(source.format), *examples,
                holds_out ? held_out.get() : nullptr);
    identity += concat(examples->fingerprint(), " ", source.weight, "\n");
    examples_identity += examples->fingerprint() + "\n";
    data.train.push_back({examples, source.weight, source.path, labels});
    labels += examples->num_trained();
  }
  if (!validation.empty()) {
    ExampleReader others(encoder.texts(), *encoder.tokenizer(), encoder.options());
    others.read(validation, RowFormat::kAuto, *held_out, nullptr);
    data.conversations += others.num_conversations();
    data.report.add(others.report());
  }
  data.conversations += reader.num_conversations();
  data.report.add(reader.report());
  if (held_out->size() > 0) data.validation = held_out;
  data.fingerprint = xxh3_128_hex(identity.data(), identity.size());
  examples_identity += held_out->fingerprint();
  data.examples = xxh3_128_hex(examples_identity.data(), examples_identity.size());
  return data;
}

// That there is something to train on, and to evaluate where that is asked for.
void check_found(const FinetuneConfig& config, const SupervisedData& data) {
  for (const SupervisedSource& source : data.train) {
    if (source.examples->size() > 0) continue;
    std::string why;
    for (const std::string& line : data.report.lines()) why += "\n  " + line;
    throw_error(ErrorKind::kData,
                concat("data.train: ", source.name, " gives no example to train on",
                       why.empty() ? ": it has no rows, or all are held out" : why));
  }
  ORTHANT_CHECK(config.evaluation.interval == 0 || data.validation, kConfig,
                "evaluation.interval: ", config.evaluation.interval,
                " wants held-out conversations, but none are; set data.validation, a larger "
                "data.validation_fraction, or evaluation.interval: 0");
}

SupervisedEvaluationOptions evaluation_options(const FinetuneConfig& config,
                                               const SupervisedData& data, int64_t first_label,
                                               const Group& group) {
  const int64_t rows = config.evaluation.micro_batch_size;
  return {.sequence_length = config.batch.sequence_length,
          .micro_batch_size = rows > 0 ? rows : config.batch.micro_batch_size,
          .pad = data.tokenizer->end_of_document(),
          .max_tokens = config.evaluation.tokens,
          .rank = group.rank(),
          .num_ranks = group.size(),
          .first_label = first_label};
}

}  // namespace

RowEncoder::RowEncoder(const FinetuneConfig& config)
    : tokenizer_(make_tokenizer(config.data.tokenizer)) {
  check_vocabulary(config, *tokenizer_);
  const BaseTexts base = base_texts(config, *tokenizer_);
  templates_ = load_templates(config.finetune.chat_template, base.folder);
  if (templates_) templates_->take_special_tokens(base.folder);
  texts_ = std::make_unique<ConversationTexts>(templates_.get(), *tokenizer_, base.end_ids,
                                               config.finetune.loss_on);
  options_ = {
      .sequence_length = config.batch.sequence_length,
      .begin = base.begin,
      .overlong = config.finetune.overlong,
      .bad_lines = config.data.bad_lines,
      .validation_fraction = config.data.validation.empty() ? config.data.validation_fraction : 0};
}

SupervisedData open_supervised_data(const FinetuneConfig& config, const Group& group) {
  SupervisedData data;
  every_rank_does(group, [&] {
    data = read_all(config);
    check_found(config, data);
  });
  check_same_everywhere(
      group, "the training data",
      concat(data.fingerprint, " ", data.validation ? data.validation->fingerprint() : ""),
      [](const std::string&, const std::string&) {
        return "files, tokenizer or chat template of another content";
      });
  return data;
}

void keep_chat_template(const FinetuneConfig& config, const std::string& run_dir) {
  if (config.finetune.chat_template.empty()) return;
  const std::string hub = RunPaths{run_dir}.hub(), more = hub + "/additional_chat_templates";
  const ChatTemplates templates = ChatTemplates::load(config.finetune.chat_template);
  for (const auto& [name, source] : templates.sources()) {
    const bool is_default = name == "default";
    make_folders(is_default ? hub : more);
    replace_file(is_default ? hub + "/chat_template.jinja" : concat(more, "/", name, ".jinja"),
                 source);
  }
}

void tell_data_report(const SupervisedData& data, const std::string& run_dir) {
  const std::vector<std::string> lines = data.report.lines();
  if (lines.empty()) return;
  const std::string path = run_dir + "/data-report.jsonl";
  data.report.write(path);
  for (const std::string& line : lines) log::warn("data: ", line);
  log::warn("data: all of them: ", path);
}

SupervisedBatches make_supervised_batches(const FinetuneConfig& config, const SupervisedData& data,
                                          const BatchSizes& sizes, int64_t length_multiple) {
  return {data.train,
          {.order = {.seed = static_cast<uint64_t>(config.run.seed),
                     .sequence_length = config.batch.sequence_length,
                     .packing = config.data.packing},
           .micro_batch_size = config.batch.micro_batch_size,
           .sizes = sizes,
           .pad = data.tokenizer->end_of_document(),
           .length_multiple = std::lcm(int64_t{8}, length_multiple)}};
}

SupervisedEvaluation make_supervised_evaluation(const FinetuneConfig& config,
                                                const SupervisedData& data, const Group& group) {
  ORTHANT_CHECK(data.validation != nullptr, kInternal, "evaluation: no conversation is held out");
  return {data.validation, evaluation_options(config, data, data.first_held_out(), group)};
}

SupervisedEvaluation make_supervised_pass(const FinetuneConfig& config, const SupervisedData& data,
                                          std::shared_ptr<const Examples> examples,
                                          int64_t first_label, const Group& group) {
  SupervisedEvaluationOptions options = evaluation_options(config, data, first_label, group);
  options.max_tokens = 0;
  return {std::move(examples), options};
}

std::vector<std::string> summary_of(const FinetuneConfig& config, const SupervisedData& data) {
  int64_t examples = 0, tokens = 0, trained = 0, longest = 0;
  for (const SupervisedSource& source : data.train) {
    examples += source.examples->size();
    tokens += source.examples->num_tokens();
    trained += source.examples->num_trained();
    longest = std::max(longest, source.examples->most_inputs() + 1);
  }
  const SupervisedRows rows(data.train, {.seed = static_cast<uint64_t>(config.run.seed),
                                         .sequence_length = config.batch.sequence_length,
                                         .packing = config.data.packing});
  std::vector<std::string> lines = {
      concat("conversations  ", with_thousands(data.conversations)),
      concat("examples       ", with_thousands(examples), " to train on, ",
             with_thousands(data.validation ? data.validation->size() : 0), " held out"),
      concat("tokens         ", with_thousands(tokens), ", ", with_thousands(trained), " trained (",
             percent(static_cast<double>(trained) / static_cast<double>(tokens)), ")"),
      concat("longest        ", with_thousands(longest), " tokens"),
      concat("rows           ", with_thousands(rows.rows_of_epoch(0)), " an epoch, of ",
             with_thousands(config.batch.sequence_length), " tokens",
             config.data.packing ? concat(", ", percent(rows.fill(0)), " filled")
                                 : " at most, one example each")};
  for (const std::string& line : data.report.lines()) lines.push_back(line);
  return lines;
}

}  // namespace orthant
