// SPDX-License-Identifier: Apache-2.0
#include "data/prepare.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <filesystem>

#include "base/checksum.h"
#include "base/clock.h"
#include "base/error.h"
#include "data/corpus_writer.h"
#include "data/document_encoder.h"
#include "data/text_reader.h"
#include "data/tokenizer.h"

namespace orthant {
namespace {

// Documents are put into this many bins by a hash of their text; the split is a number of bins.
// So the choice takes constant memory, and equal documents go together.
constexpr size_t kBins = 65536;
size_t bin_of(std::string_view text) { return xxh3_64(text.data(), text.size()) >> 48; }

struct Input {
  std::string path;
  TextFormat format;
  bool validation;  // given as explicit validation text
  CorpusSource source;
  int64_t text_bytes = 0, documents = 0;  // as the first pass found them; no empty documents
};

// Which part of a document is validation text.
struct SplitRule {
  double fraction = 0;
  bool cut_lines = false;  // .jsonl documents are cut like .txt files
  size_t num_validation_bins = 0;

  bool cuts(const Input& input) const {
    return fraction > 0 && (input.format == TextFormat::kText || cut_lines);
  }
  Split whole(const Input& input, std::string_view document) const {
    if (input.validation) return Split::kValidation;
    if (fraction == 0 || input.format == TextFormat::kText) return Split::kTrain;
    return bin_of(document) < num_validation_bins ? Split::kValidation : Split::kTrain;
  }
  int64_t cut_position(int64_t size) const {
    return static_cast<int64_t>(static_cast<double>(size) * (1.0 - fraction));
  }
};

// Calls the user's progress function at most twice a second.
class Progress {
 public:
  Progress(const PrepareOptions& options, int64_t total_bytes)
      : report_(options.progress), total_bytes_(total_bytes), start_(now_seconds()) {}
  void begin_tokens() { tokens_start_ = now_seconds(); }
  void update(int64_t bytes, int64_t tokens) {
    const double now = now_seconds();
    if (!report_ || now - last_ < 0.5) return;
    last_ = now;
    report_(std::min(0.999, static_cast<double>(bytes) / static_cast<double>(total_bytes_)),
            rate(tokens, now));
  }
  void finish(int64_t tokens) const {
    if (report_) report_(1.0, rate(tokens, now_seconds()));
  }
  double seconds() const { return now_seconds() - start_; }

 private:
  double rate(int64_t tokens, double now) const {
    return tokens == 0 ? 0.0 : static_cast<double>(tokens) / std::max(1e-6, now - tokens_start_);
  }
  const std::function<void(double, double)>& report_;
  int64_t total_bytes_;
  double start_, last_ = 0, tokens_start_ = 0;
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

// The bins that come nearest to `fraction` of all bytes: at least one, never all.
SplitRule choose_split(const std::vector<int64_t>& bin_bytes, double fraction) {
  SplitRule rule{.fraction = fraction};
  if (fraction == 0) return rule;
  int64_t total = 0;
  std::vector<size_t> used;
  for (size_t bin = 0; bin < kBins; ++bin) {
    if (bin_bytes[bin] > 0) used.push_back(bin);
    total += bin_bytes[bin];
  }
  rule.cut_lines = used.size() == 1;
  const double target = fraction * static_cast<double>(total);
  double sum = 0, best = INFINITY;
  for (size_t i = 0; i + 1 < used.size(); ++i) {
    sum += static_cast<double>(bin_bytes[used[i]]);
    if (std::abs(sum - target) >= best) break;  // sums only grow
    best = std::abs(sum - target);
    rule.num_validation_bins = used[i] + 1;
  }
  return rule;
}

// First pass: sizes, hashes, and whether all of it can be read.
SplitRule scan(std::vector<Input>& inputs, double fraction, BadLines bad_lines,
               PrepareReport& report, int64_t& bytes, Progress& progress) {
  std::vector<int64_t> bin_bytes(kBins);
  for (Input& input : inputs) {
    input.source = fingerprint_file(input.path);
    const int64_t bad_before = report.notes.num_bad_lines();
    TextReader reader(input.path, input.format, {.bad_lines = bad_lines, .notes = &report.notes});
    TextReader::Piece piece;
    while (reader.next(piece)) {
      const int64_t size = static_cast<int64_t>(piece.text.size());
      progress.update(bytes + reader.consumed_bytes(), 0);
      if (size == 0) {
        ++report.num_empty_documents;
        continue;
      }
      input.text_bytes += size;
      input.documents += piece.ends_document;
      if (input.format == TextFormat::kJsonl && !input.validation && piece.ends_document)
        bin_bytes[bin_of(piece.document)] += static_cast<int64_t>(piece.document.size());
    }
    input.source.bad_lines = report.notes.num_bad_lines() - bad_before;
    ORTHANT_CHECK(input.documents > 0 || bad_lines == BadLines::kSkip, kData, input.path,
                  ": holds no text");
    if (input.documents == 0) report.notes.no_text(input.path);
    report.num_documents += input.documents;
    bytes += input.source.bytes;
  }
  ORTHANT_CHECK(report.num_documents > 0, kData, inputs.front().path,
                inputs.size() > 1 ? " and the other inputs hold no text" : ": holds no text");
  return choose_split(bin_bytes, fraction);
}

// Second pass: tokens to the writer.
class Encoder {
 public:
  Encoder(const Tokenizer& tokenizer, CorpusWriter& writer)
      : tokenizer_(tokenizer),
        writer_(writer),
        documents_(tokenizer, [this](const DocumentEncoder::Output& output) { take(output); }) {
    for (auto& counts : counts_) counts.resize(static_cast<size_t>(tokenizer.vocab_size()));
  }
  void text(Split split, std::string_view text) { documents_.text(split, text); }
  // Ends the document, in every split that has a part of it.
  void end_document() { documents_.end_document(); }
  void finish() { documents_.finish(); }
  int64_t num_tokens() const {
    return writer_.info().train.num_tokens + writer_.info().validation.num_tokens;
  }
  bool gives_text_back() const { return gives_text_back_; }
  int64_t num_unknown_tokens() const {
    const int32_t unknown = tokenizer_.special_ids().unk;
    if (unknown < 0) return 0;
    return counts_[0][static_cast<size_t>(unknown)] + counts_[1][static_cast<size_t>(unknown)];
  }
  double entropy_bits(Split split) const {
    double total = 0, sum = 0;
    for (const int64_t n : counts_[index(split)]) {
      total += static_cast<double>(n);
      if (n > 0) sum += static_cast<double>(n) * std::log2(static_cast<double>(n));
    }
    return total == 0 ? 0.0 : std::log2(total) - sum / total;
  }

 private:
  static size_t index(Split split) { return static_cast<size_t>(split); }
  void take(const DocumentEncoder::Output& output) {
    std::vector<int64_t>& counts = counts_[index(output.split)];
    for (const int32_t token : output.ids) ++counts[static_cast<size_t>(token)];
    gives_text_back_ = gives_text_back_ && output.gives_text_back;
    writer_.append(output.split, output.ids, static_cast<int64_t>(output.text.size()));
    if (!output.ends_document) return;
    ++counts[static_cast<size_t>(tokenizer_.end_of_document())];
    writer_.end_document(output.split);
  }

  const Tokenizer& tokenizer_;
  CorpusWriter& writer_;
  DocumentEncoder documents_;
  std::array<std::vector<int64_t>, 2> counts_;
  bool gives_text_back_ = true;
};

void encode_input(const Input& input, const SplitRule& rule, BadLines bad_lines,
                  int64_t bytes_before, Encoder& encoder, Progress& progress) {
  TextReader reader(input.path, input.format, {.bad_lines = bad_lines});
  TextReader::Piece piece;
  Split whole = Split::kTrain;
  int64_t documents = 0, text_bytes = 0, position = 0;  // position: inside the document
  while (reader.next(piece)) {
    const int64_t size = static_cast<int64_t>(piece.text.size());
    if (size == 0) continue;
    if (input.validation || !rule.cuts(input)) {
      if (position == 0) whole = rule.whole(input, piece.document);
      encoder.text(whole, piece.text);
    } else {
      const int64_t document = input.format == TextFormat::kText
                                   ? input.text_bytes
                                   : static_cast<int64_t>(piece.document.size());
      const int64_t cut = rule.cut_position(document) - position;
      size_t at = static_cast<size_t>(std::clamp<int64_t>(cut, 0, size));
      // Not inside of a UTF-8 character.
      while (cut > 0 && at < piece.text.size() && (piece.text[at] & 0xC0) == 0x80) ++at;
      encoder.text(Split::kTrain, piece.text.substr(0, at));
      encoder.text(Split::kValidation, piece.text.substr(at));
    }
    position = piece.ends_document ? 0 : position + size;
    if (piece.ends_document) encoder.end_document();
    text_bytes += size;
    documents += piece.ends_document;
    progress.update(bytes_before + reader.consumed_bytes(), encoder.num_tokens());
  }
  ORTHANT_CHECK(text_bytes == input.text_bytes && documents == input.documents, kData, input.path,
                ": changed while it was read");
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
  CorpusWriter writer(options.output, *tokenizer);

  int64_t total_bytes = 0, bytes = 0;
  for (const Input& input : inputs)
    total_bytes += 2 * static_cast<int64_t>(std::filesystem::file_size(input.path));
  Progress progress(options, total_bytes);
  PrepareReport report;
  const SplitRule rule = scan(inputs, fraction, options.bad_lines, report, bytes, progress);
  Encoder encoder(*tokenizer, writer);
  progress.begin_tokens();
  std::vector<CorpusSource> sources;
  for (const Input& input : inputs) {
    encode_input(input, rule, options.bad_lines, bytes, encoder, progress);
    bytes += input.source.bytes;
    sources.push_back(input.source);
  }
  encoder.finish();
  ORTHANT_CHECK(options.inputs.empty() || writer.info().train.num_tokens > 0, kData,
                options.inputs.empty() ? "" : options.inputs.front(), ": a validation fraction of ",
                fraction, " leaves no text for training");
  const CorpusInfo info = writer.commit(std::move(sources), fraction);
  report.train = info.train;
  report.validation = info.validation;
  report.unigram_entropy_bits =
      encoder.entropy_bits(options.inputs.empty() ? Split::kValidation : Split::kTrain);
  report.num_unknown_tokens = encoder.num_unknown_tokens();
  report.gives_text_back = encoder.gives_text_back();
  report.vocab_size = info.vocab_size;
  report.fingerprint = info.fingerprint;
  report.output_bytes = static_cast<int64_t>(std::filesystem::file_size(options.output));
  report.seconds = progress.seconds();
  progress.finish(encoder.num_tokens());
  return report;
}

}  // namespace orthant
