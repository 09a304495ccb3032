// SPDX-License-Identifier: Apache-2.0
// Reads the documents of a text file, plain or gzip, in bounded memory.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <string_view>

namespace orthant {

enum class TextFormat { kText, kJsonl };

// What `path` holds: by `format` (auto | text | jsonl), for auto by the name's ending (.txt,
// .jsonl, each also with .gz).  Error(kConfig) when that says nothing.
TextFormat text_format(const std::string& path, const std::string& format);

// A plain or, by its name's ending, gzip-compressed file as a stream of bytes.
class ByteReader {
 public:
  // Error(kMissingInput) when there is none; Error(kData) when it is not a regular file.
  explicit ByteReader(const std::string& path);
  ~ByteReader();
  // Up to `size` bytes; 0 at the end.  Error(kData) for damaged or truncated gzip.
  size_t read(char* out, size_t size);
  int64_t consumed_bytes() const;  // of the file on disk

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

class TextReader {
 public:
  TextReader(const std::string& path, TextFormat format);

  struct Piece {
    std::string_view text;  // valid until the next call
    bool ends_document = false;
  };
  // The next piece; false at the end.  A .txt document comes in pieces of at most 1 MiB, which end
  // after a newline where they can, else between UTF-8 characters; a .jsonl document in one piece,
  // blank lines are skipped.  Error(kData) "FILE:LINE: ...".
  bool next(Piece& piece);
  int64_t consumed_bytes() const { return bytes_.consumed_bytes(); }

 private:
  bool next_text(Piece& piece);
  bool next_line(Piece& piece);
  bool fill(size_t want);

  std::string path_;
  TextFormat format_;
  ByteReader bytes_;
  std::string buffer_;  // read and not yet given out: [begin_, size)
  size_t begin_ = 0;
  bool at_end_ = false;  // the file has no more bytes than the buffer
  bool finished_ = false;
  int64_t line_ = 0;
  std::string document_;  // text of the current line
};

}  // namespace orthant
