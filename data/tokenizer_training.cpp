// SPDX-License-Identifier: Apache-2.0
#include "data/tokenizer_training.h"

#include <sentencepiece_trainer.h>

#include <algorithm>
#include <condition_variable>
#include <mutex>
#include <stop_token>

#include "base/clock.h"
#include "base/context.h"
#include "base/error.h"
#include "base/philox.h"
#include "base/thread.h"
#include "data/sentencepiece.h"
#include "data/text_reader.h"

namespace orthant {
namespace {

constexpr size_t kMaxSentenceBytes = 4096;
constexpr int64_t kMeasuredBytes = int64_t{4} << 20;
constexpr double kProgressSeconds = 10.0;

// Calls `use` with every line of the inputs, its newlines included.
template <class Use>
void for_each_line(const TokenizerTrainingOptions& options, TextNotes* notes, const Use& use) {
  for (const std::string& path : options.inputs) {
    TextReader reader(path, text_format(path, options.format),
                      {.bad_lines = options.bad_lines, .notes = notes});
    TextReader::Piece piece;
    while (reader.next(piece)) {
      std::string_view text = piece.text;
      while (!text.empty()) {
        size_t end = std::min(text.find('\n'), text.size());
        end = std::min(text.find_first_not_of('\n', end), text.size());
        use(text.substr(0, end));
        text.remove_prefix(end);
      }
    }
  }
}

// The library leaves out sentences that hold a tab (its mark of word borders) or are long.
void add_sentences(std::string_view line, std::vector<std::string>& sentences) {
  while (!line.empty()) {
    size_t end = std::min(line.find('\t'), line.size());
    if (end > kMaxSentenceBytes) end = whole_characters(line.substr(0, kMaxSentenceBytes));
    if (end > 0) sentences.emplace_back(line.substr(0, end));
    line.remove_prefix(std::min(line.size(), end + (end < line.size() && line[end] == '\t')));
  }
}

std::vector<std::string> read_sample(const TokenizerTrainingOptions& options,
                                     TrainedTokenizer& result) {
  for (const std::string& path : options.inputs) ByteReader check(path);  // before any work
  for_each_line(options, &result.notes, [&](std::string_view line) {
    result.text_bytes += static_cast<int64_t>(line.size());
  });
  ORTHANT_CHECK(result.text_bytes > 0, kData, options.inputs.front(), ": holds no text");
  const double share = std::min(
      1.0, static_cast<double>(options.sample_bytes) / static_cast<double>(result.text_bytes));
  const PhiloxKey key = make_key(0, RandomPurpose::kSampling, "lines for a tokenizer");
  std::vector<std::string> sentences;
  uint64_t number = 0;
  for_each_line(options, nullptr, [&](std::string_view line) {
    if (share < 1.0 && philox_uniform(key, 0, number++) >= share) return;
    result.used_bytes += static_cast<int64_t>(line.size());
    add_sentences(line, sentences);
  });
  return sentences;
}

class Sentences final : public sentencepiece::SentenceIterator {
 public:
  explicit Sentences(const std::vector<std::string>& sentences) : sentences_(sentences) {}
  bool done() const override { return next_ >= sentences_.size(); }
  void Next() override { ++next_; }
  const std::string& value() const override { return sentences_[next_]; }
  sentencepiece::util::Status status() const override { return {}; }

 private:
  const std::vector<std::string>& sentences_;
  size_t next_ = 0;
};

// Says every ten seconds that the library is still at work, which tells nothing itself.
class Heartbeat {
 public:
  explicit Heartbeat(const std::function<void(const std::string&)>& progress)
      : thread_(start_thread<std::jthread>("training a tokenizer", [&progress, &rank = context()](
                                                                       std::stop_token stop) {
          const ContextScope scope(rank);
          std::mutex mutex;
          std::unique_lock lock(mutex);
          std::condition_variable_any changed;
          const double start = now_seconds();
          for (double next = kProgressSeconds;; next += kProgressSeconds) {
            changed.wait_for(lock, stop, std::chrono::duration<double>(kProgressSeconds),
                             [] { return false; });
            if (stop.stop_requested()) return;
            if (progress)
              progress(concat("training for ", static_cast<int64_t>(now_seconds() - start), " s"));
          }
        })) {}

 private:
  std::jthread thread_;
};

// "Internal: trainer_interface.cc(660) [condition] Reason." -> "Reason."
std::string reason_of(const sentencepiece::util::Status& status) {
  const std::string text = status.ToString();
  const size_t at = text.rfind("] ");
  return at == std::string::npos || at + 2 >= text.size() ? text : text.substr(at + 2);
}

}  // namespace

TrainedTokenizer train_tokenizer(const TokenizerTrainingOptions& options) {
  const int64_t fewest = 5 + (options.byte_fallback ? 256 : 0);
  ORTHANT_CHECK(options.vocab_size >= fewest && options.vocab_size <= (1 << 24), kUsage,
                "tokenizer train: --vocab-size: want ", fewest, " to ", 1 << 24, ", got ",
                options.vocab_size);
  ORTHANT_CHECK(!options.inputs.empty(), kUsage, "tokenizer train: want at least one text");
  const double start = now_seconds();
  const auto tell = [&](const std::string& what) {
    if (options.progress) options.progress(what);
  };
  TrainedTokenizer result;
  tell("reading");
  const std::vector<std::string> sample = read_sample(options, result);
  tell(result.used_bytes == result.text_bytes
           ? concat("training on ", result.used_bytes, " bytes")
           : concat("training on a sample of ", result.used_bytes, " of ", result.text_bytes,
                    " bytes (--sample-bytes)"));
  const auto yes_no = [](bool value) { return value ? "true" : "false"; };
  {
    Sentences sentences(sample);
    const Heartbeat heartbeat(options.progress);
    const sentencepiece::util::Status status = sentencepiece::SentencePieceTrainer::Train(
        {{"model_type", options.model},
         {"vocab_size", std::to_string(options.vocab_size)},
         {"character_coverage", concat(options.character_coverage)},
         {"byte_fallback", yes_no(options.byte_fallback)},
         {"split_digits", yes_no(options.split_digits)},
         {"normalization_rule_name", "identity"},
         {"add_dummy_prefix", "false"},
         {"remove_extra_whitespaces", "false"},
         {"allow_whitespace_only_pieces", "true"},
         {"max_sentence_length", std::to_string(2 * kMaxSentenceBytes)},
         {"num_threads", "1"},
         {"unk_id", "0"},
         {"bos_id", "1"},
         {"eos_id", "2"},
         {"pad_id", "3"},
         {"minloglevel", options.library_log ? "0" : "2"}},
        &sentences, &result.file);
    ORTHANT_CHECK(status.ok(), kData, "tokenizer train: ", options.vocab_size, " ids from ",
                  result.used_bytes, " bytes of text: ", reason_of(status));
  }
  const std::unique_ptr<Tokenizer> tokenizer = parse_sentencepiece(result.file, "the new model");
  int64_t bytes = 0, tokens = 0;
  for (size_t i = 0; i < sample.size() && bytes < kMeasuredBytes; ++i) {
    bytes += static_cast<int64_t>(sample[i].size());
    tokens += static_cast<int64_t>(tokenizer->encode(sample[i]).size());
  }
  result.name = tokenizer->name();
  result.bytes_per_token = static_cast<double>(bytes) / static_cast<double>(tokens);
  result.seconds = now_seconds() - start;
  return result;
}

}  // namespace orthant
