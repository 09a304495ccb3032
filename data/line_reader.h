// SPDX-License-Identifier: Apache-2.0
// Lines of a .jsonl file, plain or compressed.
#pragma once

#include <cstdint>
#include <string>

#include "data/byte_reader.h"

namespace orthant {

class LineReader {
 public:
  explicit LineReader(const std::string& path) : path_(path), bytes_(path) {}
  // The next line that is not blank; false at the end.  Error(kData): one of more than 256 MiB.
  bool next(std::string& line);
  int64_t number() const { return number_; }  // of the line, from 1
  std::string where() const;                  // "FILE:LINE"

 private:
  bool take(std::string& line);
  bool fill();

  std::string path_, buffer_;
  ByteReader bytes_;
  size_t begin_ = 0;
  int64_t number_ = 0;
};

// Of lines that are not blank.
int64_t count_lines(const std::string& path);

}  // namespace orthant
