// SPDX-License-Identifier: Apache-2.0
// What was wrong with texts that were read all the same: counted, the first ones by file and line.
#pragma once

#include <array>
#include <cstdint>
#include <string>
#include <vector>

#include "base/enum_names.h"
#include "data/jsonl.h"

namespace orthant {

// What becomes of a line that gives no text: an error, or it is left out and counted.
enum class BadLines { kFail, kSkip };
const EnumNames<BadLines>& bad_lines_names();

class TextNotes {
 public:
  void bad_line(const std::string& where, const LineFault& fault);
  // Bytes behind the last gzip member.
  void trailing(const std::string& path, int64_t bytes);
  // A text of which `bad` bytes are not UTF-8, the first of them in this line.
  void not_utf8(const std::string& path, int64_t line, int64_t bad, int64_t bytes, bool utf16);
  void no_text(const std::string& path);
  void add(const TextNotes& more);  // of texts behind these

  int64_t num_bad_lines() const { return bad_lines_.count; }
  // For people: totals, and the first of each kind.  Empty where all was well.
  std::vector<std::string> lines() const;

 private:
  struct Kind {
    int64_t count = 0;
    std::vector<std::string> first;
    void add(std::string text);
    void add(const Kind& more);
    void tell(const std::string& total, std::vector<std::string>& lines) const;
  };
  Kind bad_lines_, trailing_, not_utf8_, no_text_;
  std::array<int64_t, kNumLineFaultKinds> faults_ = {};
};

}  // namespace orthant
