// SPDX-License-Identifier: Apache-2.0
#include "data/text_notes.h"

#include <cmath>

#include "base/error.h"

namespace orthant {
namespace {

constexpr size_t kMostNamed = 5;

std::string counted_as(int64_t count, const char* one, const char* many) {
  return concat(count, " ", count == 1 ? one : many);
}

}  // namespace

const EnumNames<BadLines>& bad_lines_names() {
  static const EnumNames<BadLines> names = {{BadLines::kFail, "fail"}, {BadLines::kSkip, "skip"}};
  return names;
}

void TextNotes::Kind::add(std::string text) {
  if (++count <= static_cast<int64_t>(kMostNamed)) first.push_back(std::move(text));
}

void TextNotes::Kind::add(const Kind& more) {
  count += more.count;
  for (const std::string& text : more.first)
    if (first.size() < kMostNamed) first.push_back(text);
}

void TextNotes::Kind::tell(const std::string& total, std::vector<std::string>& lines) const {
  if (count == 0) return;
  lines.push_back(total);
  for (const std::string& text : first) lines.push_back(concat("  ", text));
  const int64_t more = count - static_cast<int64_t>(first.size());
  if (more > 0) lines.push_back(concat("  and ", more, " more"));
}

void TextNotes::bad_line(const std::string& where, const LineFault& fault) {
  bad_lines_.add(concat(where, ": ", fault.reason));
  ++faults_[static_cast<size_t>(fault.kind)];
}

void TextNotes::trailing(const std::string& path, int64_t bytes) {
  trailing_.add(concat(path, ": ", counted_as(bytes, "byte", "bytes")));
}

void TextNotes::not_utf8(const std::string& path, int64_t line, int64_t bad, int64_t bytes,
                         bool utf16) {
  const double percent = 100.0 * static_cast<double>(bad) / static_cast<double>(bytes);
  not_utf8_.add(concat(path, ":", line, ": the first of ", bad, " such bytes of ", bytes, " (",
                       percent < 0.01 ? "less than 0.01" : concat(std::round(percent * 100) / 100),
                       "%)", utf16 ? "; it begins as UTF-16 does" : ""));
}

void TextNotes::no_text(const std::string& path) { no_text_.add(path); }

void TextNotes::add(const TextNotes& more) {
  bad_lines_.add(more.bad_lines_);
  trailing_.add(more.trailing_);
  not_utf8_.add(more.not_utf8_);
  no_text_.add(more.no_text_);
  for (size_t kind = 0; kind < kNumLineFaultKinds; ++kind) faults_[kind] += more.faults_[kind];
}

std::vector<std::string> TextNotes::lines() const {
  std::vector<std::string> lines;
  std::string by_kind;
  for (size_t kind = 0; kind < kNumLineFaultKinds; ++kind)
    if (faults_[kind] > 0)
      by_kind += concat(by_kind.empty() ? "" : ", ", faults_[kind], " ",
                        line_fault_name(static_cast<LineFaultKind>(kind)));
  bad_lines_.tell(
      concat(counted_as(bad_lines_.count, "bad line is", "bad lines are"), " left out: ", by_kind),
      lines);
  no_text_.tell(concat(counted_as(no_text_.count, "file holds", "files hold"), " no text"), lines);
  trailing_.tell(
      concat("bytes behind the last gzip member of ", counted_as(trailing_.count, "file", "files"),
             " are no gzip, and are left out"),
      lines);
  not_utf8_.tell(concat(counted_as(not_utf8_.count, "text is", "texts are"),
                        " not UTF-8 throughout; what is not is taken as bytes (iconv -t UTF-8 "
                        "converts a file)"),
                 lines);
  return lines;
}

}  // namespace orthant
