// SPDX-License-Identifier: Apache-2.0
#include <unistd.h>

#include <cstdio>
#include <filesystem>

#include "base/error.h"
#include "base/log.h"
#include "data/cache.h"
#include "data/corpus.h"
#include "data/text_reader.h"
#include "launch/commands.h"
#include "launch/saved_model.h"
#include "trainer/routing_inspection.h"

namespace orthant {
namespace {

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
std::vector<int32_t> text_tokens(const std::string& path, const InspectRoutingCommand& command,
                                 const Tokenizer& tokenizer) {
  const int64_t most_tokens = command.most_tokens;
  std::vector<int32_t> tokens;
  TextNotes notes;
  TextReader reader(path, text_format(path, command.format),
                    {.bad_lines = bad_lines_of(command.bad_lines), .notes = &notes});
  TextReader::Piece piece;
  bool continues = false;  // a document has begun
  while (std::ssize(tokens) < most_tokens && reader.next(piece)) {
    const std::vector<int32_t> more = tokenizer.encode(piece.text, continues);
    tokens.insert(tokens.end(), more.begin(), more.end());
    continues = continues || !more.empty();
    if (piece.ends_document && continues) {
      tokens.push_back(tokenizer.end_of_document());
      continues = false;
    }
  }
  for (const std::string& line : notes.lines()) log::warn("inspect routing: ", line);
  tokens.resize(std::min(tokens.size(), static_cast<size_t>(most_tokens)));
  return tokens;
}

RoutingDomain domain_of(const std::string& path, const InspectRoutingCommand& command,
                        const SavedModel& saved) {
  ORTHANT_CHECK(access(path.c_str(), R_OK) == 0, kMissingInput, "inspect routing: ", path,
                ": no such file; text itself goes behind --text");
  return {.name = std::filesystem::path(path).filename().string(),
          .tokens = is_corpus_path(path, command.format)
                        ? corpus_tokens(path, saved, command.most_tokens)
                        : text_tokens(path, command, *saved.tokenizer)};
}

}  // namespace

int run_inspect_routing(const InspectRoutingCommand& command) {
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

}  // namespace orthant
