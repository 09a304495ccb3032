// SPDX-License-Identifier: Apache-2.0
#include "data/example_reader.h"

#include <exception>

#include "base/checksum.h"
#include "base/error.h"
#include "base/parallel_for.h"
#include "data/line_reader.h"

namespace orthant {
namespace {

// Lines that are read before threads take them.
constexpr size_t kLinesAtOnce = 1024, kBytesAtOnce = size_t{8} << 20;

// In [0, 1), by what the conversation says: equal ones go together, wherever they stand.
double place_of(const Conversation& c) {
  const nlohmann::ordered_json content = {c.messages, c.tools, c.prompt, c.completion};
  const std::string text = content.dump();
  return static_cast<double>(xxh3_64(text.data(), text.size()) >> 11) * 0x1p-53;
}

}  // namespace

const EnumNames<Overlong>& overlong_names() {
  static const EnumNames<Overlong> names = {{Overlong::kDrop, "drop"}, {Overlong::kCut, "cut"}};
  return names;
}

struct ExampleReader::Line {
  std::string text;
  int64_t number = 0;
  // What becomes of it.
  std::vector<Example> examples;
  std::vector<RowFault> notes;
  bool is_held_out = false;
  std::exception_ptr error;  // of another kind: it ends the reading
};

void ExampleReader::add_example(Line& line, const TrainedText& text) const {
  Example example = encode_example(text, tokenizer_, options_.begin);
  const size_t size = example.ids.size();
  if (size == 0) {
    line.notes.push_back({RowReason::kNothingTrained, "no token of the example is trained"});
    return;
  }
  const auto most = static_cast<size_t>(options_.sequence_length) + 1;
  if (size > most) {
    const std::string what = concat("an example of ", size, " tokens, want at most ", most,
                                    " (batch.sequence_length + 1)");
    if (options_.overlong == Overlong::kDrop) {
      line.notes.push_back(
          {RowReason::kTooLong, concat(what, "; finetune.overlong: cut keeps its beginning")});
      return;
    }
    cut_example(example, most);
    const bool is_left = !example.ids.empty();
    line.notes.push_back(is_left ? RowFault{RowReason::kCut, what}
                                 : RowFault{RowReason::kNothingTrained,
                                            concat(what, ", no trained one among these")});
    if (!is_left) return;
  }
  if (text.lacks_end)
    line.notes.push_back(
        {RowReason::kNoEnd,
         "want the token that ends a turn, got none of eos_token_id (generation_config.json) or "
         "the tokenizer's: the model would not learn to stop"});
  line.examples.push_back(std::move(example));
}

void ExampleReader::make_examples(Line& line, RowFormat format) const {
  try {
    const Conversation conversation = parse_conversation(line.text, format);
    const double fraction = options_.validation_fraction;
    line.is_held_out = fraction > 0 && place_of(conversation) < fraction;
    const std::vector<TrainedText> texts = texts_.texts(conversation);
    if (texts.empty())
      line.notes.push_back({RowReason::kNothingTrained, "no assistant turn is to be trained"});
    for (const TrainedText& text : texts) add_example(line, text);
  } catch (RowFault& fault) {
    line.notes.push_back(std::move(fault));
  } catch (...) {  // thrown again by read()
    line.error = std::current_exception();
  }
}

void ExampleReader::take(const std::string& path, const Line& line, Examples& examples,
                         int32_t file) {
  if (line.error) std::rethrow_exception(line.error);
  for (const RowFault& note : line.notes) {
    ORTHANT_CHECK(options_.bad_lines == BadLines::kSkip || !is_bad_line(note.reason), kData, path,
                  ":", line.number, ": ", note.text,
                  "; data.bad_lines: skip leaves such rows out and counts them");
    report_.add({note.reason, path, line.number, note.text});
  }
  num_conversations_ += !line.examples.empty();
  for (const Example& example : line.examples) examples.add(example, {file, line.number});
}

void ExampleReader::read(const std::string& path, RowFormat format, Examples& train,
                         Examples* held_out) {
  LineReader reader(path);
  const int32_t train_file = train.add_file(path);
  const int32_t held_out_file = held_out ? held_out->add_file(path) : 0;
  std::vector<Line> lines;
  for (bool goes_on = true; goes_on;) {
    lines.clear();
    for (size_t bytes = 0; lines.size() < kLinesAtOnce && bytes < kBytesAtOnce;) {
      Line line;
      goes_on = reader.next(line.text);
      if (!goes_on) break;
      line.number = reader.number();
      bytes += line.text.size();
      lines.push_back(std::move(line));
    }
    parallel_for_each(static_cast<int64_t>(lines.size()),
                      [&](int64_t i) { make_examples(lines[static_cast<size_t>(i)], format); });
    for (const Line& line : lines) {
      const bool apart = held_out && line.is_held_out;
      take(path, line, apart ? *held_out : train, apart ? held_out_file : train_file);
    }
  }
}

}  // namespace orthant
