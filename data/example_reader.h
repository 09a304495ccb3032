// SPDX-License-Identifier: Apache-2.0
// Files of conversations (.jsonl, also .gz or .zst) become examples.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "data/data_report.h"
#include "data/examples.h"
#include "data/text_notes.h"

namespace orthant {

enum class Overlong { kDrop, kCut };
const EnumNames<Overlong>& overlong_names();  // drop, cut

struct ExampleOptions {
  int64_t sequence_length = 0;  // an example has at most one id more
  std::vector<int32_t> begin;   // tokens that every plain text begins with
  Overlong overlong = Overlong::kDrop;
  BadLines bad_lines = BadLines::kFail;
  double validation_fraction = 0;  // of conversations, by a hash of what they say
};

class ExampleReader {
 public:
  // Both must outlive it.
  ExampleReader(const ConversationTexts& texts, const Tokenizer& tokenizer,
                const ExampleOptions& options)
      : texts_(texts), tokenizer_(tokenizer), options_(options) {}

  // Appends the examples of a file, in the order of its lines; held_out: null where nothing is held
  // out.  Lines are taken on all threads of the rank, to the same result whatever their number.
  // Error(kData) "FILE:LINE: ...": a bad line, unless these are left out; Error(kMissingInput).
  void read(const std::string& path, RowFormat format, Examples& train, Examples* held_out);

  int64_t num_conversations() const { return num_conversations_; }  // lines that gave examples
  const DataReport& report() const { return report_; }

 private:
  struct Line;
  void make_examples(Line& line, RowFormat format) const;
  void add_example(Line& line, const TrainedText& text) const;
  void take(const std::string& path, const Line& line, Examples& examples, int32_t file);

  const ConversationTexts& texts_;
  const Tokenizer& tokenizer_;
  ExampleOptions options_;
  DataReport report_;
  int64_t num_conversations_ = 0;
};

}  // namespace orthant
