// SPDX-License-Identifier: Apache-2.0
#include "data/prepare.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <filesystem>

#include "base/checksum.h"
#include "base/error.h"
#include "data/corpus_writer.h"
#include "data/document_encoder.h"
#include "data/file_turns.h"
#include "data/prepare_progress.h"
#include "data/prepare_split.h"
#include "data/text_reader.h"
#include "data/tokenizer.h"

namespace orthant {
namespace {

struct Input {
  std::string path;
  TextFormat format;
  bool validation;  // given as explicit validation text
  // As the first pass finds them.
  CorpusSource source = {};
  TextNotes notes = {};
  RedactionCounts redactions = {};
  int64_t text_bytes = 0, documents = 0, empty_documents = 0;
};

std::vector<Input> list_inputs(const PrepareOptions& options) {
  std::vector<Input> inputs;
  for (const std::string& path : options.inputs)
    inputs.push_back({path, text_format(path, options.format), false});
  for (const std::string& path : options.validation_inputs)
    inputs.push_back({path, text_format(path, options.format), true});
  ORTHANT_CHECK(!inputs.empty(), kUsage, "prepare: want at least one input file");
  for (const Input& input : inputs) {
    ByteReader check(input.path);  // that it is there, before any work
    ORTHANT_CHECK(std::filesystem::weakly_canonical(input.path) !=
                      std::filesystem::weakly_canonical(options.output),
                  kUsage, "prepare: the output is also an input: ", options.output);
  }
  return inputs;
}

TextReaderOptions reader_options(const PrepareOptions& options, TextNotes* notes) {
  return {.bad_lines = options.bad_lines, .notes = notes, .redact = options.redact};
}

// First pass over a file: size, hash, and whether all of it can be read.
void scan_input(Input& input, const PrepareOptions& options, const FileTurn& turn,
                DocumentBins& bins, PrepareProgress& all) {
  PrepareProgress::File progress(all);
  input.source = fingerprint_file(input.path);
  TextReader reader(input.path, input.format, reader_options(options, &input.notes));
  TextReader::Piece piece;
  while (turn.goes_on() && reader.next(piece)) {
    progress.at(reader.consumed_bytes());
    if (piece.text.empty()) {
      ++input.empty_documents;
      continue;
    }
    input.text_bytes += static_cast<int64_t>(piece.text.size());
    input.documents += piece.ends_document;
    if (input.format == TextFormat::kJsonl && !input.validation && piece.ends_document)
      bins.add(piece.document);
  }
  if (!turn.goes_on()) return;
  progress.at(input.source.bytes);
  input.source.bad_lines = input.notes.num_bad_lines();
  input.redactions = reader.redactions();
  ORTHANT_CHECK(input.documents > 0 || options.bad_lines == BadLines::kSkip, kData, input.path,
                ": holds no text");
  if (input.documents == 0) input.notes.no_text(input.path);
}

SplitRule scan(std::vector<Input>& inputs, double fraction, const PrepareOptions& options,
               PrepareReport& report, PrepareProgress& progress) {
  DocumentBins bins;
  for_each_file(inputs.size(), [&](FileTurn& turn) {
    scan_input(inputs[turn.file], options, turn, bins, progress);
  });
  for (const Input& input : inputs) {
    report.notes.add(input.notes);
    report.redactions.add(input.redactions);
    report.num_documents += input.documents;
    report.num_empty_documents += input.empty_documents;
  }
  ORTHANT_CHECK(report.num_documents > 0, kData, inputs.front().path,
                inputs.size() > 1 ? " and the other inputs hold no text" : ": holds no text");
  return choose_split(bins, fraction);
}

// What became of text that was encoded.
struct TokenCounts {
  std::array<std::vector<int64_t>, 2> by_token;  // by split
  bool gives_text_back = true;

  explicit TokenCounts(const Tokenizer& tokenizer) {
    for (auto& counts : by_token) counts.resize(static_cast<size_t>(tokenizer.vocab_size()));
  }
  void add(const TokenCounts& more) {
    for (size_t split = 0; split < 2; ++split)
      for (size_t i = 0; i < by_token[split].size(); ++i)
        by_token[split][i] += more.by_token[split][i];
    gives_text_back = gives_text_back && more.gives_text_back;
  }
  int64_t of(int32_t token) const {
    if (token < 0) return 0;
    return by_token[0][static_cast<size_t>(token)] + by_token[1][static_cast<size_t>(token)];
  }
  double entropy_bits(Split split) const {
    double total = 0, sum = 0;
    for (const int64_t n : by_token[static_cast<size_t>(split)]) {
      total += static_cast<double>(n);
      if (n > 0) sum += static_cast<double>(n) * std::log2(static_cast<double>(n));
    }
    return total == 0 ? 0.0 : std::log2(total) - sum / total;
  }
};

// Second pass: the tokens of one file after the other to a lane of the writer.
class Lane {
 public:
  Lane(const Tokenizer& tokenizer, CorpusWriter& writer, size_t lane, PrepareProgress& progress)
      : tokenizer_(tokenizer),
        writer_(writer),
        lane_(lane),
        progress_(progress),
        counts_(tokenizer),
        documents_(tokenizer, [this](const DocumentEncoder::Output& output) { take(output); }) {}

  void encode(const Input& input, const SplitRule& rule, const PrepareOptions& options,
              const FileTurn& turn);
  const TokenCounts& counts() const { return counts_; }

 private:
  void take(const DocumentEncoder::Output& output) {
    std::vector<int64_t>& counts = counts_.by_token[static_cast<size_t>(output.split)];
    for (const int32_t token : output.ids) ++counts[static_cast<size_t>(token)];
    counts_.gives_text_back = counts_.gives_text_back && output.gives_text_back;
    writer_.append(lane_, output.split, output.ids, static_cast<int64_t>(output.text.size()));
    progress_.add_tokens(std::ssize(output.ids) + output.ends_document);
    if (!output.ends_document) return;
    ++counts[static_cast<size_t>(tokenizer_.end_of_document())];
    writer_.end_document(lane_, output.split);
  }
  // Both sides of a piece at `position` of a document that is cut.
  void cut(const TextReader::Piece& piece, int64_t position, int64_t cut_position) {
    const int64_t size = static_cast<int64_t>(piece.text.size()), cut = cut_position - position;
    size_t at = static_cast<size_t>(std::clamp<int64_t>(cut, 0, size));
    // Not inside of a UTF-8 character.
    while (cut > 0 && at < piece.text.size() && (piece.text[at] & 0xC0) == 0x80) ++at;
    documents_.text(Split::kTrain, piece.text.substr(0, at));
    documents_.text(Split::kValidation, piece.text.substr(at));
  }

  const Tokenizer& tokenizer_;
  CorpusWriter& writer_;
  const size_t lane_;
  PrepareProgress& progress_;
  TokenCounts counts_;
  DocumentEncoder documents_;
};

void Lane::encode(const Input& input, const SplitRule& rule, const PrepareOptions& options,
                  const FileTurn& turn) {
  writer_.begin_part(turn.file, lane_);
  PrepareProgress::File progress(progress_);
  TextReader reader(input.path, input.format, reader_options(options, nullptr));
  TextReader::Piece piece;
  Split whole = Split::kTrain;
  int64_t documents = 0, text_bytes = 0, position = 0;  // position: inside the document
  while (turn.goes_on() && reader.next(piece)) {
    const int64_t size = static_cast<int64_t>(piece.text.size());
    if (size == 0) continue;
    if (input.validation || !rule.cuts(input.format)) {
      if (position == 0)
        whole = input.validation ? Split::kValidation : rule.whole(input.format, piece.document);
      documents_.text(whole, piece.text);
    } else {
      const int64_t document = input.format == TextFormat::kText
                                   ? input.text_bytes
                                   : static_cast<int64_t>(piece.document.size());
      cut(piece, position, rule.cut_position(document));
    }
    position = piece.ends_document ? 0 : position + size;
    if (piece.ends_document) documents_.end_document();
    text_bytes += size;
    documents += piece.ends_document;
    progress.at(reader.consumed_bytes());
  }
  if (!turn.goes_on()) return;
  ORTHANT_CHECK(text_bytes == input.text_bytes && documents == input.documents, kData, input.path,
                ": changed while it was read");
  documents_.finish();
  progress.at(input.source.bytes);
}

TokenCounts encode_all(const std::vector<Input>& inputs, const SplitRule& rule,
                       const PrepareOptions& options, const Tokenizer& tokenizer,
                       CorpusWriter& writer, size_t num_lanes, PrepareProgress& progress) {
  std::vector<std::unique_ptr<Lane>> lanes;
  for (size_t lane = 0; lane < num_lanes; ++lane)
    lanes.push_back(std::make_unique<Lane>(tokenizer, writer, lane, progress));
  progress.begin_tokens();
  for_each_file(inputs.size(), [&](FileTurn& turn) {
    lanes[turn.lane]->encode(inputs[turn.file], rule, options, turn);
  });
  TokenCounts counts(tokenizer);
  for (const auto& lane : lanes) counts.add(lane->counts());
  return counts;
}

}  // namespace

CorpusSource fingerprint_file(const std::string& path) {
  std::unique_ptr<std::FILE, int (*)(std::FILE*)> file(nullptr, std::fclose);
  { ByteReader check(path); }  // the same errors as reading text
  file.reset(std::fopen(path.c_str(), "rb"));
  ORTHANT_CHECK(file != nullptr, kData, path, ": cannot be opened");
  Checksum checksum;
  CorpusSource source{.path = path};
  std::vector<char> buffer(size_t{1} << 20);
  while (const size_t n = std::fread(buffer.data(), 1, buffer.size(), file.get())) {
    checksum.update(buffer.data(), n);
    source.bytes += static_cast<int64_t>(n);
  }
  ORTHANT_CHECK(!std::ferror(file.get()), kData, path, ": cannot be read");
  source.xxh3_128 = checksum.hex();
  return source;
}

PrepareReport prepare(const PrepareOptions& options) {
  ORTHANT_CHECK(options.validation_fraction >= 0 && options.validation_fraction < 1, kConfig,
                "validation fraction: want a number in [0, 1), got ", options.validation_fraction);
  const bool given = !options.validation_inputs.empty();
  const double fraction = given ? 0.0 : options.validation_fraction;
  const std::unique_ptr<Tokenizer> tokenizer = make_tokenizer(options.tokenizer);
  std::vector<Input> inputs = list_inputs(options);
  const size_t num_lanes = num_file_lanes(inputs.size());
  CorpusWriter writer(options.output, *tokenizer, {.parts = inputs.size(), .lanes = num_lanes});

  int64_t total_bytes = 0;
  for (const Input& input : inputs)
    total_bytes += 2 * static_cast<int64_t>(std::filesystem::file_size(input.path));
  PrepareProgress progress(options.progress, total_bytes);
  PrepareReport report;
  const SplitRule rule = scan(inputs, fraction, options, report, progress);
  const TokenCounts counts =
      encode_all(inputs, rule, options, *tokenizer, writer, num_lanes, progress);
  ORTHANT_CHECK(options.inputs.empty() || writer.total(Split::kTrain).num_tokens > 0, kData,
                options.inputs.empty() ? "" : options.inputs.front(), ": a validation fraction of ",
                fraction, " leaves no text for training");
  std::vector<CorpusSource> sources;
  for (const Input& input : inputs) sources.push_back(input.source);
  const CorpusInfo info = writer.commit(std::move(sources), fraction);
  report.train = info.train;
  report.validation = info.validation;
  report.unigram_entropy_bits =
      counts.entropy_bits(options.inputs.empty() ? Split::kValidation : Split::kTrain);
  report.num_unknown_tokens = counts.of(tokenizer->special_ids().unk);
  report.gives_text_back = counts.gives_text_back;
  report.vocab_size = info.vocab_size;
  report.fingerprint = info.fingerprint;
  report.output_bytes = static_cast<int64_t>(std::filesystem::file_size(options.output));
  report.seconds = progress.seconds();
  progress.finish();
  return report;
}

}  // namespace orthant
