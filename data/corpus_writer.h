// SPDX-License-Identifier: Apache-2.0
// Writes a corpus: tokens are spooled to unnamed files beside the output, and the .h5 file appears,
// complete, on commit().  Until then, and after an error, nothing is left behind.
//
// A corpus comes in parts, one for each input, which stand in it in their order, whichever was
// written first.  A part goes through one of the writer's lanes; different lanes may be used by
// different threads.
#pragma once

#include <array>
#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "data/corpus.h"
#include "data/token_spool.h"
#include "data/tokenizer.h"

namespace orthant {

struct CorpusParts {
  size_t parts = 1, lanes = 1;
};

class CorpusWriter {
 public:
  // Makes the output's folder and checks that it can be written: Error(kCannotWrite) otherwise.
  CorpusWriter(std::string output, const Tokenizer& tokenizer, const CorpusParts& parts = {});
  CorpusWriter(const CorpusWriter&) = delete;
  CorpusWriter& operator=(const CorpusWriter&) = delete;

  // What follows in the lane is of this part; each is begun once.
  void begin_part(size_t part, size_t lane);
  // Adds tokens that stand for `text_bytes` bytes of text to a split of the lane's part.
  void append(size_t lane, Split split, std::span<const int32_t> tokens, int64_t text_bytes);
  // Adds the end of document.
  void end_document(size_t lane, Split split);
  // Of all parts; no thread may add to one meanwhile.
  SplitInfo total(Split split) const;

  // Writes, syncs and renames the file.  No further calls.
  CorpusInfo commit(std::vector<CorpusSource> sources, double validation_fraction);

 private:
  struct Lane {
    std::array<TokenSpool, 2> spools;  // by split
    size_t part = 0;
  };
  struct Part {
    size_t lane = 0;
    std::array<int64_t, 2> begin = {};  // in the lane's spools
    std::array<SplitInfo, 2> size = {};
  };
  void write_file(const std::string& path);
  std::vector<uint64_t> write_split(int64_t group, Split split, const std::string& path);

  std::string output_;
  CorpusInfo info_;
  std::vector<Lane> lanes_;
  std::vector<Part> parts_;
};

}  // namespace orthant
