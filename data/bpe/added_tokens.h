// SPDX-License-Identifier: Apache-2.0
// The tokens that a tokenizer.json matches in text before anything else: "added_tokens".
//
// Leftmost, and of those that begin there the longest.  `normalized` ones are looked for in
// normalized text, in their own normalized form; the others in the text as it is.
#pragma once

#include <array>
#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <string_view>
#include <unordered_map>
#include <utility>
#include <vector>

#include "data/bpe/json_place.h"

namespace orthant {

struct AddedToken {
  int32_t id = 0;
  std::string content;
  bool special = false;      // a control token: no text, and text becomes it only when asked to
  bool normalized = false;   // see above
  bool lstrip = false;       // takes white space before it along
  bool rstrip = false;       // behind it
  bool single_word = false;  // not inside of a word
};

// The largest id of a token; larger ones would take memory that no vocabulary needs.
inline constexpr int64_t kMaxTokenId = (int64_t{1} << 22) - 1;

std::vector<AddedToken> parse_added_tokens(const JsonPlace& place);

// Finds tokens in text.  Immutable.
class AddedTokenMatcher {
 public:
  void add(const AddedToken& token, std::string_view content);
  size_t longest() const { return longest_; }  // bytes
  bool strips_left() const { return strips_left_; }
  bool has_single_words() const { return has_single_words_; }
  // Whether a token is spelled where the text begins.
  bool begins(std::string_view text) const { return !longest_at(text, 0).content.empty(); }

  struct Segment {
    size_t begin, end;
    const AddedToken* token;  // null: text between tokens, not empty
  };
  // Where a token is spelled that is not taken for one, which hides others.
  using Hidden = std::vector<std::pair<size_t, size_t>>;
  // Calls take(segment) for the whole text in order until it returns false; returns false where it
  // did.  Special tokens are text unless `with_special`.
  bool for_each_segment(std::string_view text, bool with_special, Hidden& hidden,
                        const std::function<bool(const Segment&)>& take) const;

 private:
  struct Match {
    std::string_view content;  // empty: none
    uint32_t token = 0;
  };
  Match longest_at(std::string_view text, size_t at) const;
  bool stands_alone(std::string_view text, size_t begin, size_t end) const;

  std::vector<AddedToken> tokens_;
  // A trie: the child of a node for a byte, by node * 256 + byte; the root's children apart.
  std::unordered_map<uint64_t, uint32_t> children_;
  std::array<uint32_t, 256> roots_{};       // 0: none
  std::vector<uint32_t> token_of_node_{0};  // 1 + index in tokens_; 0: none
  size_t longest_ = 0;
  bool strips_left_ = false, has_single_words_ = false;
};

}  // namespace orthant
