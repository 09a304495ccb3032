// SPDX-License-Identifier: Apache-2.0
// A regular expression that cuts text into words, as tokenizer.json writes it.
//
// Those expressions are in Oniguruma's syntax and are run by PCRE2, which reads some of it
// otherwise without an error: class intersections [..&&..], classes in classes, \h, \w, X{n,m}+,
// scripts.  So only what means the same in both is let through, \s is written out (PCRE2's has
// U+180E), categories get the characters of Unicode 15 to 17, and everything else is refused by
// name.  What looks back (\b, (?<=..), ^) is refused
// too: a match then depends on nothing but where the search begins and the text from there on,
// which is what lets documents be cut (data/bpe/pre_tokenizer.h).
#pragma once

#include <cstddef>
#include <memory>
#include <string>
#include <string_view>

#include "data/bpe/json_place.h"

namespace orthant {

// What matching writes to.  One for each thread that matches.
class MatchScratch {
 public:
  MatchScratch();
  ~MatchScratch();
  MatchScratch(const MatchScratch&) = delete;
  MatchScratch& operator=(const MatchScratch&) = delete;

  // Whether text may have characters that PCRE2 does not know (data/bpe/new_characters.h), as it
  // may at first.  Matching is twice as fast without.
  void set_new_characters(bool may_be_there) { new_characters_ = may_be_there; }

 private:
  friend class SplitPattern;
  bool new_characters_ = true;
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

// Immutable; may serve several threads.
class SplitPattern {
 public:
  // Error(kData) at `place` for what is no expression, or not supported, or can match no text.
  SplitPattern(const std::string& oniguruma, const JsonPlace& place);
  // The pattern of a tokenizer.json: {"Regex": ...} or {"String": ...}.
  static SplitPattern parse(const JsonPlace& place);
  // For expressions of PCRE2 that stand in this program.
  static SplitPattern pcre2(const std::string& expression);

  enum class Status { kNone, kMatch, kOpen };
  struct Found {
    Status status = Status::kNone;
    size_t begin = 0, end = 0;  // of a match; kOpen: no match begins before `begin`
  };
  // The leftmost match that begins at or behind `from`; `text` is valid UTF-8.  With `open`, text
  // follows that is not there: kOpen where what follows could change the answer.
  Found find(std::string_view text, size_t from, bool open, MatchScratch& scratch) const;

 private:
  struct Code;
  explicit SplitPattern(std::shared_ptr<const Code> code)
      : code_(code), plain_code_(std::move(code)) {}
  std::shared_ptr<const Code> code_;
  std::shared_ptr<const Code> plain_code_;  // for text without new characters
};

// Oniguruma's expression as PCRE2's, whose categories have the new characters or not.  Error(kData)
// as above.
std::string pcre2_expression(const std::string& oniguruma, bool with_new_characters,
                             const JsonPlace& place);

}  // namespace orthant
