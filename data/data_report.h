// SPDX-License-Identifier: Apache-2.0
// Rows of supervised data that were left out, cut or are odd: by reason, file and line.
#pragma once

#include <array>
#include <cstdint>
#include <string>
#include <vector>

#include "data/row_fault.h"

namespace orthant {

struct ReportEntry {
  RowReason reason;
  std::string file;
  int64_t line = 0;  // from 1
  std::string text;
};

class DataReport {
 public:
  void add(ReportEntry entry);
  void add(const DataReport& more);
  int64_t count(RowReason reason) const { return counts_[static_cast<size_t>(reason)]; }
  const std::vector<ReportEntry>& entries() const { return entries_; }
  // For people: a total for each reason and the first three rows of it.  Empty where all was well.
  std::vector<std::string> lines() const;
  // An object a line: {"reason", "file", "line", "text"}; of turns without an end the first 1,000.
  // Error(kCannotWrite).
  void write(const std::string& path) const;

 private:
  std::vector<ReportEntry> entries_;  // in the order of files and lines
  std::array<int64_t, kNumRowReasons> counts_ = {};
};

}  // namespace orthant
