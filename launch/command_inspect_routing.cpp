// SPDX-License-Identifier: Apache-2.0
#include <unistd.h>

#include <cstdio>
#include <filesystem>
#include <memory>

#include "base/error.h"
#include "base/log.h"
#include "data/cache.h"
#include "data/corpus.h"
#include "data/document_encoder.h"
#include "data/text_reader.h"
#include "launch/command.h"
#include "launch/input_files.h"
#include "trainer/routing_inspection.h"
#include "trainer/saved_model.h"

namespace orthant {
namespace {

struct InspectRouting {
  std::string model;
  std::vector<std::string> files, texts;  // files: text as for prepare, or .h5 corpora
  std::string format = "auto", bad_lines = "fail";
  int64_t most_tokens = 65536;  // of a file
  bool json = false;
};

// The validation split, or the training one where there is none.
std::vector<int32_t> corpus_tokens(const std::string& path, const SavedModel& saved,
                                   int64_t most_tokens) {
  const bool validates = inspect_corpus(path).validation.num_tokens > 0;
  const auto corpus = Corpus::open(path, validates ? Split::kValidation : Split::kTrain);
  ORTHANT_CHECK(corpus->tokenizer_name() == saved.tokenizer->name(), kConfig,
                "inspect routing: ", path, " was prepared with tokenizer '",
                corpus->tokenizer_name(), "', the model reads '", saved.tokenizer->name(), "'");
  std::vector<int32_t> tokens(static_cast<size_t>(std::min(most_tokens, corpus->num_tokens())));
  corpus->read(0, tokens);
  return tokens;
}

// The documents of a text, each with its end, as orthant prepare reads them.
std::vector<int32_t> text_tokens(const std::string& path, const InspectRouting& command,
                                 const Tokenizer& tokenizer) {
  const int64_t most_tokens = command.most_tokens;
  std::vector<int32_t> tokens;
  TextNotes notes;
  TextReader reader(path, text_format(path, command.format),
                    {.bad_lines = bad_lines_names().at(command.bad_lines), .notes = &notes});
  TextReader::Piece piece;
  DocumentEncoder documents(tokenizer, [&](const DocumentEncoder::Output& output) {
    tokens.insert(tokens.end(), output.ids.begin(), output.ids.end());
    if (output.ends_document) tokens.push_back(tokenizer.end_of_document());
  });
  while (std::ssize(tokens) < most_tokens && reader.next(piece)) {
    documents.text(Split::kTrain, piece.text);
    if (piece.ends_document) documents.end_document();
  }
  if (std::ssize(tokens) < most_tokens) documents.finish();
  for (const std::string& line : notes.lines()) log::warn("inspect routing: ", line);
  tokens.resize(std::min(tokens.size(), static_cast<size_t>(most_tokens)));
  return tokens;
}

RoutingDomain domain_of(const std::string& path, const InspectRouting& command,
                        const SavedModel& saved) {
  ORTHANT_CHECK(access(path.c_str(), R_OK) == 0, kMissingInput, "inspect routing: ", path,
                ": no such file; text itself goes behind --text");
  return {.name = std::filesystem::path(path).filename().string(),
          .tokens = is_corpus_path(path, command.format)
                        ? corpus_tokens(path, saved, command.most_tokens)
                        : text_tokens(path, command, *saved.tokenizer)};
}

int run(const InspectRouting& command) {
  ORTHANT_CHECK(!command.files.empty() || !command.texts.empty(), kUsage,
                "inspect routing: want files of text, corpora or --text");
  const SavedModel saved = load_saved_model("inspect routing", command.model, "");
  ORTHANT_CHECK(saved.config.model.is_moe(), kConfig, "inspect routing: ", command.model,
                " is a dense model, which routes nothing");
  std::vector<RoutingDomain> domains;
  for (const std::string& path : command.files) domains.push_back(domain_of(path, command, saved));
  for (const std::string& text : command.texts)
    domains.push_back({.name = concat("text ", domains.size() + 1 - command.files.size()),
                       .tokens = saved.tokenizer->encode(text)});
  for (const RoutingDomain& domain : domains)
    ORTHANT_CHECK(!domain.tokens.empty(), kData, "inspect routing: ", domain.name, " is empty");
  const RoutingInspection inspection = inspect_routing(*saved.model, std::move(domains));
  std::fputs((command.json ? routing_json(inspection, *saved.tokenizer)
                           : routing_table(inspection, *saved.tokenizer))
                 .c_str(),
             stdout);
  return 0;
}

}  // namespace

Command inspect_routing_command() {
  return {
      .name = "inspect routing",
      .help = "which experts of a model the tokens of some text go to, by layer",
      .footer =
          "orthant inspect routing runs/quickstart news.txt poems.txt\n"
          "orthant inspect routing runs/quickstart --text 'To be' --text 'int main()'",
      .declare = [](Options& o) {
        const auto c = std::make_shared<InspectRouting>();
        o.text("model", c->model, required_text(), "a run directory, or one of its checkpoints");
        o.texts("files", c->files, any_text(),
                ".txt (one document each) or .jsonl ({\"text\": ...} a line), either also .gz or "
                ".zst, or corpora (.h5); with several, the share of each by expert");
        o.texts("--text", c->texts, Options::Each::kOnce, "text itself; may be given again");
        o.integer("--tokens", c->most_tokens, at_least(1), "most tokens of a file");
        o.text("--format", c->format, any_text(), "auto, text, jsonl or hdf5");
        bad_lines_option(o, c->bad_lines);
        o.flag("--json", c->json, "one JSON object instead of tables");
        return [c] { return run(*c); };
      }};
}

}  // namespace orthant
