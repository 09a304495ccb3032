// SPDX-License-Identifier: Apache-2.0
#include "data/text_reader.h"

#include <algorithm>

#include "base/error.h"

namespace orthant {
namespace {

constexpr size_t kTextPieceBytes = size_t{1} << 20;
constexpr size_t kJsonPieceBytes = size_t{1} << 24;
constexpr size_t kReadBytes = size_t{1} << 16;

// Where to end a piece of text that goes on.
size_t piece_end(std::string_view text) {
  const size_t newline = text.rfind('\n');
  if (newline != std::string_view::npos) return newline + 1;
  return whole_characters(text);
}

}  // namespace

std::optional<TextFormat> text_format_of_name(std::string_view path) {
  path = unpacked_name(path);
  if (path.ends_with(".txt")) return TextFormat::kText;
  if (path.ends_with(".jsonl")) return TextFormat::kJsonl;
  return std::nullopt;
}

TextFormat text_format(const std::string& path, const std::string& format) {
  if (format == "text") return TextFormat::kText;
  if (format == "jsonl") return TextFormat::kJsonl;
  ORTHANT_CHECK(format == "auto", kConfig, path, ": format: want auto, text or jsonl, got '",
                format, "'");
  const auto by_name = text_format_of_name(path);
  ORTHANT_CHECK(
      by_name, kConfig, path,
      ": unknown kind of file: want .txt or .jsonl, either also with .gz or .zst behind it, "
      "or its format, text or jsonl");
  return *by_name;
}

TextReader::TextReader(const std::string& path, TextFormat format, const TextReaderOptions& options)
    : path_(path), format_(format), options_(options), bytes_(path) {}

// Reads until `want` bytes wait in the buffer; false when the file ends before.
bool TextReader::fill(size_t want) {
  while (!at_end_ && buffer_.size() - begin_ < want) {
    if (begin_ > 0) {
      buffer_.erase(0, begin_);
      begin_ = 0;
    }
    const size_t size = buffer_.size();
    const size_t more = std::max(kReadBytes, want - size);
    buffer_.resize(size + more);
    const size_t n = bytes_.read(buffer_.data() + size, more);
    buffer_.resize(size + n);
    at_end_ = n == 0;
  }
  return buffer_.size() - begin_ >= want;
}

bool TextReader::next(Piece& piece) {
  if (format_ == TextFormat::kJsonl) return next_json(piece);
  return options_.redact ? next_redacted_text(piece) : next_text(piece);
}

// Tells what was found on the way; false, as next() at the end.
bool TextReader::finish() {
  if (!finished_ && options_.notes) {
    if (bytes_.trailing_bytes() > 0) options_.notes->trailing(path_, bytes_.trailing_bytes());
    if (bad_bytes_ > 0) options_.notes->not_utf8(path_, bad_line_, bad_bytes_, text_bytes_, utf16_);
  }
  finished_ = true;
  return false;
}

void TextReader::look_for_other_than_utf8(std::string_view text) {
  if (text_bytes_ == 0) utf16_ = text.starts_with("\xFF\xFE") || text.starts_with("\xFE\xFF");
  text_bytes_ += static_cast<int64_t>(text.size());
  while (!text.empty()) {
    const std::string_view good = text.substr(0, utf8_prefix(text));
    if (bad_bytes_ == 0) line_ += std::count(good.begin(), good.end(), '\n');
    text.remove_prefix(good.size());
    if (text.empty()) break;
    if (bad_bytes_++ == 0) bad_line_ = line_ + 1;
    text.remove_prefix(1);
  }
}

bool TextReader::next_text(Piece& piece) {
  if (finished_) return false;
  if (at_end_ && begin_ == buffer_.size()) return finish();
  const bool more = fill(kTextPieceBytes + 1);
  const std::string_view rest = std::string_view(buffer_).substr(begin_);
  piece.text = more ? rest.substr(0, piece_end(rest.substr(0, kTextPieceBytes))) : rest;
  piece.ends_document = !more;
  begin_ += piece.text.size();
  if (options_.notes) look_for_other_than_utf8(piece.text);
  return !piece.text.empty() || finish();
}

bool TextReader::next_redacted_text(Piece& piece) {
  do {  // a piece may be held back whole
    if (!next_text(piece)) return false;
    piece.text = redaction_.add(piece.text, piece.ends_document);
  } while (piece.text.empty() && !piece.ends_document);
  redactions_ = redaction_.counts();
  return true;
}

// Reads on behind the next newline, keeping nothing.
void TextReader::skip_line() {
  for (;;) {
    const size_t end = buffer_.find('\n', begin_);
    begin_ = end == std::string::npos ? buffer_.size() : end + 1;
    if (end != std::string::npos || !fill(1)) return;
  }
}

// The next line, without its newline; no characters at the end of the file, where begin_ is the
// buffer's size.  A fault: too long.
std::optional<LineFault> TextReader::next_line(std::string_view& line) {
  const size_t most = static_cast<size_t>(options_.max_line_bytes);
  ++line_;
  size_t searched = 0, end = std::string::npos;
  for (;;) {
    end = buffer_.find('\n', begin_ + searched);
    searched = (end == std::string::npos ? buffer_.size() : end) - begin_;
    if (searched > most) {
      skip_line();
      return LineFault{LineFaultKind::kTooLong, concat("the line is longer than ", most, " bytes")};
    }
    if (end != std::string::npos || !fill(searched + 1)) break;
  }
  line = std::string_view(buffer_).substr(begin_, searched);
  begin_ = std::min(begin_ + searched + 1, buffer_.size());
  return std::nullopt;
}

bool TextReader::next_json(Piece& piece) {
  while (!in_document_) {
    if (!fill(1)) return finish();
    std::string_view line;
    std::optional<LineFault> fault = next_line(line);
    if (!fault && line.find_first_not_of(" \t\r") == std::string_view::npos) continue;
    if (!fault) fault = json_text(line, document_);
    if (!fault && options_.redact) document_ = redacted(document_, redactions_);
    given_ = 0;
    in_document_ = !fault;
    if (!fault) break;
    const std::string where = concat(path_, ":", line_);
    ORTHANT_CHECK(options_.bad_lines == BadLines::kSkip, kData, where, ": ", fault->reason,
                  "; --bad-lines skip (in a run data.bad_lines: skip) leaves such lines out");
    if (options_.notes) options_.notes->bad_line(where, *fault);
  }
  piece.document = document_;
  piece.text = piece.document.substr(given_);
  if (piece.text.size() > kJsonPieceBytes)
    piece.text = piece.text.substr(0, piece_end(piece.text.substr(0, kJsonPieceBytes)));
  given_ += piece.text.size();
  piece.ends_document = given_ == document_.size();
  in_document_ = !piece.ends_document;
  return true;
}

}  // namespace orthant
