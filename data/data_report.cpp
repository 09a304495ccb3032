// SPDX-License-Identifier: Apache-2.0
#include "data/data_report.h"

#include <nlohmann/json.hpp>

#include "base/durable_file.h"
#include "base/text.h"

namespace orthant {
namespace {

constexpr int64_t kMostShown = 3;  // of a reason
// Where one turn has no token that ends it, all have none: the rest is counted and not kept.
constexpr int64_t kMostWithoutEnd = 1000;

const char* what_becomes_of(RowReason reason) {
  if (is_left_out(reason)) return "left out";
  return reason == RowReason::kCut ? "used without their ends" : "used as they are";
}

}  // namespace

const EnumNames<RowReason>& row_reason_names() {
  static const EnumNames<RowReason> names = {
      {RowReason::kNotJson, "not JSON"},
      {RowReason::kUnknownFormat, "unknown format"},
      {RowReason::kMalformed, "malformed"},
      {RowReason::kRoles, "roles out of order"},
      {RowReason::kEmptyTurn, "empty turn"},
      {RowReason::kNoAssistant, "no assistant turn"},
      {RowReason::kTemplate, "refused by the chat template"},
      {RowReason::kNotContinued, "not as it would be generated"},
      {RowReason::kNothingTrained, "no trained tokens"},
      {RowReason::kTooLong, "too long"},
      {RowReason::kCut, "cut"},
      {RowReason::kNoEnd, "turn without a token that ends it"}};
  return names;
}

void DataReport::add(ReportEntry entry) {
  const int64_t count = ++counts_[static_cast<size_t>(entry.reason)];
  if (entry.reason == RowReason::kNoEnd && count > kMostWithoutEnd) return;
  entries_.push_back(std::move(entry));
}

void DataReport::add(const DataReport& more) {
  for (size_t i = 0; i < kNumRowReasons; ++i) counts_[i] += more.counts_[i];
  entries_.insert(entries_.end(), more.entries_.begin(), more.entries_.end());
}

std::vector<std::string> DataReport::lines() const {
  std::vector<std::string> lines;
  for (size_t i = 0; i < kNumRowReasons; ++i) {
    const auto reason = static_cast<RowReason>(i);
    if (counts_[i] == 0) continue;
    lines.push_back(concat(row_reason_names().of(reason), ": ", counts_[i], ", ",
                           what_becomes_of(reason),
                           counts_[i] > kMostShown ? "; the first:" : ":"));
    int64_t shown = 0;
    for (const ReportEntry& entry : entries_) {
      if (entry.reason != reason) continue;
      if (++shown > kMostShown) break;
      lines.push_back(concat("  ", entry.file, ":", entry.line, ": ", entry.text));
    }
  }
  return lines;
}

void DataReport::write(const std::string& path) const {
  std::string text;
  for (const ReportEntry& entry : entries_) {
    const nlohmann::ordered_json line = {{"reason", row_reason_names().of(entry.reason)},
                                         {"file", valid_utf8(entry.file)},
                                         {"line", entry.line},
                                         {"text", valid_utf8(entry.text)}};
    text += line.dump() + "\n";
  }
  replace_file(path, text);
}

}  // namespace orthant
