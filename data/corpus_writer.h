// SPDX-License-Identifier: Apache-2.0
// Writes a corpus: tokens are spooled to unnamed files beside the output, and the .h5 file appears,
// complete, on commit().  Until then, and after an error, nothing is left behind.
#pragma once

#include <array>
#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "data/corpus.h"
#include "data/tokenizer.h"

namespace orthant {

class CorpusWriter {
 public:
  // Makes the output's folder and checks that it can be written: Error(kCannotWrite) otherwise.
  CorpusWriter(std::string output, const Tokenizer& tokenizer);
  ~CorpusWriter();
  CorpusWriter(const CorpusWriter&) = delete;
  CorpusWriter& operator=(const CorpusWriter&) = delete;

  // Adds tokens that stand for `text_bytes` bytes of text to a split.
  void append(Split split, std::span<const int32_t> tokens, int64_t text_bytes);
  // Adds the end of document.
  void end_document(Split split);
  const CorpusInfo& info() const { return info_; }

  // Writes, syncs and renames the file.  No further calls.
  CorpusInfo commit(std::vector<CorpusSource> sources, double validation_fraction);

 private:
  // Stored tokens of one split on their way to the file.
  struct Spool {
    int fd = -1;
    std::vector<unsigned char> pending;
    int64_t flushed_bytes = 0;
  };
  void flush(Spool& spool);
  void write_file(const std::string& path);
  std::vector<uint64_t> write_split(int64_t group, Split split, const std::string& path);

  std::string output_;
  CorpusInfo info_;
  std::array<Spool, 2> spools_;  // by split
};

}  // namespace orthant
