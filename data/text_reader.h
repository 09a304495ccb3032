// SPDX-License-Identifier: Apache-2.0
// Reads the documents of a text file, plain or packed.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

#include "data/byte_reader.h"
#include "data/redaction.h"
#include "data/text_notes.h"

namespace orthant {

enum class TextFormat { kText, kJsonl };

// What a file holds by its name's ending (.txt, .jsonl, each also with .gz or .zst), where that
// says it.
std::optional<TextFormat> text_format_of_name(std::string_view path);
// The same by `format` (auto | text | jsonl).  Error(kConfig) when the name says nothing.
TextFormat text_format(const std::string& path, const std::string& format);

// A line of a .jsonl file is held in memory whole, with its text: about four times its bytes.
inline constexpr int64_t kMaxLineBytes = int64_t{2} << 30;

struct TextReaderOptions {
  BadLines bad_lines = BadLines::kFail;
  TextNotes* notes = nullptr;  // told what is wrong, by the end of the file; may be null
  int64_t max_line_bytes = kMaxLineBytes;
  bool redact = false;  // markers stand for personal data (data/redaction.h)
};

class TextReader {
 public:
  TextReader(const std::string& path, TextFormat format, const TextReaderOptions& options = {});

  struct Piece {
    std::string_view text;  // valid until the next call
    bool ends_document = false;
    std::string_view document;  // .jsonl: all of it, whatever the piece
  };
  // The next piece; false at the end.  A .txt document comes in pieces of at most 1 MiB, which end
  // after a newline where they can, else between UTF-8 characters; a .jsonl document in pieces of
  // at most 16 MiB, cut likewise.  Blank lines are skipped.  Error(kData) "FILE:LINE: ..." for a
  // bad line, unless these are left out.
  bool next(Piece& piece);
  int64_t consumed_bytes() const { return bytes_.consumed_bytes(); }
  const RedactionCounts& redactions() const { return redactions_; }

 private:
  bool next_text(Piece& piece);
  bool next_redacted_text(Piece& piece);
  bool next_json(Piece& piece);
  std::optional<LineFault> next_line(std::string_view& line);
  void skip_line();
  bool fill(size_t want);
  void look_for_other_than_utf8(std::string_view text);
  bool finish();

  std::string path_;
  TextFormat format_;
  TextReaderOptions options_;
  ByteReader bytes_;
  std::string buffer_;  // read and not yet given out: [begin_, size)
  size_t begin_ = 0;
  bool at_end_ = false;  // the file has no more bytes than the buffer
  bool finished_ = false;
  int64_t line_ = 0;
  std::string document_;  // .jsonl: text of the current line
  size_t given_ = 0;      // of it, in pieces before
  bool in_document_ = false;
  // .txt: what was read, and what of it was not UTF-8.
  int64_t text_bytes_ = 0, bad_bytes_ = 0, bad_line_ = 0;
  bool utf16_ = false;
  Redaction redaction_;  // .txt
  RedactionCounts redactions_;
};

}  // namespace orthant
