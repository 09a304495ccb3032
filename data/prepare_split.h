// SPDX-License-Identifier: Apache-2.0
// Which text of prepare()'s inputs is validation text: see data/prepare.h.
#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <string_view>
#include <vector>

#include "data/corpus.h"
#include "data/text_reader.h"

namespace orthant {

// Bytes of documents by a hash of their text, in a number of bins that takes constant memory; equal
// documents go together.  Any thread may add.
class DocumentBins {
 public:
  DocumentBins();
  void add(std::string_view document);
  static size_t bin_of(std::string_view document);
  int64_t bytes(size_t bin) const { return bytes_[bin].load(); }
  size_t size() const { return bytes_.size(); }

 private:
  std::vector<std::atomic<int64_t>> bytes_;
};

struct SplitRule {
  double fraction = 0;
  bool cut_lines = false;  // .jsonl documents are cut like .txt files
  size_t num_validation_bins = 0;

  bool cuts(TextFormat format) const {
    return fraction > 0 && (format == TextFormat::kText || cut_lines);
  }
  // Of a document that is not cut.
  Split whole(TextFormat format, std::string_view document) const;
  int64_t cut_position(int64_t size) const {
    return static_cast<int64_t>(static_cast<double>(size) * (1.0 - fraction));
  }
};

// The bins that come nearest to `fraction` of all bytes: at least one, never all.
SplitRule choose_split(const DocumentBins& bins, double fraction);

}  // namespace orthant
