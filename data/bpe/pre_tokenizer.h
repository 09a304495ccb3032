// SPDX-License-Identifier: Apache-2.0
// How a tokenizer.json cuts text into words, each of which becomes tokens alone: "pre_tokenizer".
//
// Split, ByteLevel, Digits, Metaspace, Punctuation, Whitespace, WhitespaceSplit and Sequence;
// anything else is refused by name, and so is what would see rewritten text: a part behind
// ByteLevel, Metaspace or a prefix space behind another part.
//
// Documents may be cut in two at the end of a word, and be cut into the same words, where
// (C1) the search of every part could begin anew: the place is not inside of a match of any part;
// (C2) no match before it looked at the end of the text at hand (SplitPattern::find with `open`).
// For the words behind it depend on nothing before it: patterns do not look back.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "base/function_ref.h"
#include "data/bpe/json_place.h"
#include "data/bpe/rewriting.h"
#include "data/bpe/split_pattern.h"

namespace orthant {

enum class SplitBehavior { kIsolated, kRemoved, kMergedWithPrevious, kMergedWithNext, kContiguous };

struct SplitStage {
  SplitPattern pattern;
  SplitBehavior behavior = SplitBehavior::kIsolated;
  bool invert = false;  // matches are what stands between those of the pattern
};

// Immutable.
class PreTokenizer {
 public:
  explicit PreTokenizer(const JsonPlace& place);  // null: all of the text is one word

  bool is_byte_level() const { return is_byte_level_; }
  bool prepends() const { return prefix_ != Prefix::kNone; }
  bool prepends_to_first() const { return prefix_ == Prefix::kFirst; }
  bool cuts_words() const { return !stages_.empty(); }
  void add_stage(SplitStage stage) { stages_.push_back(std::move(stage)); }

  // Text between two added tokens, with what this puts before it and in place of spaces; `begins`
  // as for a normalizer, `is_first`: it begins the document.  The result is `text` or stands in
  // `out`.
  std::string_view rewrite(std::string_view text, bool begins, bool is_first, Rewriting& out) const;

  // Calls take(word, may_cut) for every word of rewritten text in order, until it returns false or
  // text that follows, where the text is `open`, could change the next word.  Returns false where
  // take did.
  using Take = FunctionRef<bool(std::string_view word, bool may_cut)>;
  bool split(std::string_view text, bool open, MatchScratch& scratch, Take take) const;

 private:
  enum class Prefix { kNone, kAlways, kFirst };
  void add(const JsonPlace& place);
  void add_byte_level(const JsonPlace& place);
  void add_metaspace(const JsonPlace& place);

  std::vector<SplitStage> stages_;
  Prefix prefix_ = Prefix::kNone;
  std::string space_;  // what is put before text, and in place of spaces
  bool replaces_spaces_ = false;
  bool is_byte_level_ = false;
};

}  // namespace orthant
