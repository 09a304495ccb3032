// SPDX-License-Identifier: Apache-2.0
// What a tokenizer.json does to text before it is cut into words: "normalizer".
//
// NFC, NFD, NFKC, NFKD (utf8proc, Unicode 15.0), Replace, Prepend, Strip and Sequence; anything
// else is refused by name.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "data/bpe/json_place.h"
#include "data/bpe/rewriting.h"
#include "data/bpe/split_pattern.h"

namespace orthant {

// Immutable.
class Normalizer {
 public:
  explicit Normalizer(const JsonPlace& place);  // null: leaves text as it is

  // The text between two added tokens, rewritten; what is prepended is so only where the text
  // `begins`, and does not go on with one that was cut.  The result is `text` or stands in the last
  // of `steps`.
  std::string_view apply(std::string_view text, bool begins, std::vector<Rewriting>& steps,
                         MatchScratch& scratch) const;

  // Whether text may be cut where nothing was replaced, and be rewritten in parts.
  bool can_cut() const;
  bool is_identity() const { return steps_.empty(); }
  bool prepends() const;
  bool replaces() const;
  // Leading bytes of a text that are rewritten alike whatever follows it.
  size_t settled_bytes(std::string_view text) const;

 private:
  enum class Kind { kUnicodeForm, kReplace, kPrepend, kStrip };
  struct Step {
    Kind kind;
    int form = 0;                         // utf8proc's options
    std::vector<SplitPattern> pattern{};  // of kReplace: one
    size_t literal_bytes = 0;             // length of the pattern; 0: an expression
    std::string text{};                   // what is prepended or put in place
    bool left = false, right = false;     // of kStrip
  };
  void add(const JsonPlace& place);

  std::vector<Step> steps_;
};

}  // namespace orthant
