// SPDX-License-Identifier: Apache-2.0
#include "data/bpe/added_tokens.h"

#include <algorithm>

#include "data/bpe/split_pattern.h"
#include "data/bpe/white_space.h"

namespace orthant {
namespace {

// What Rust's expressions take for a character of a word.
bool is_word_character(std::string_view c) {
  static const SplitPattern word =
      SplitPattern::pcre2(R"([\p{Alphabetic}\p{M}\p{Nd}\p{Pc}\x{200c}\x{200d}])");
  MatchScratch scratch;  // few tokens ask
  return word.find(c, 0, false, scratch).status == SplitPattern::Status::kMatch;
}

std::string_view last_character(std::string_view text) {
  size_t begin = text.size() - 1;
  while (begin > 0 && (text[begin] & 0xC0) == 0x80) --begin;
  return text.substr(begin);
}

}  // namespace

std::vector<AddedToken> parse_added_tokens(const JsonPlace& place) {
  std::vector<AddedToken> tokens;
  if (place.is_null()) return tokens;
  for (size_t i = 0; i < place.size(); ++i) {
    const JsonPlace token = place.at(i);
    tokens.push_back({.id = static_cast<int32_t>(token.at("id").number(kMaxTokenId)),
                      .content = token.text("content"),
                      .special = token.flag("special", false),
                      .normalized = token.flag("normalized", !token.flag("special", false)),
                      .lstrip = token.flag("lstrip", false),
                      .rstrip = token.flag("rstrip", false),
                      .single_word = token.flag("single_word", false)});
  }
  return tokens;
}

void AddedTokenMatcher::add(const AddedToken& token, std::string_view content) {
  if (content.empty()) return;
  uint32_t node = 0;
  for (const char c : content) {
    const auto byte = static_cast<unsigned char>(c);
    uint32_t& child = node == 0 ? roots_[byte] : children_[uint64_t{node} * 256 + byte];
    if (child == 0) {
      child = static_cast<uint32_t>(token_of_node_.size());
      token_of_node_.push_back(0);
    }
    node = child;
  }
  tokens_.push_back(token);
  token_of_node_[node] = static_cast<uint32_t>(tokens_.size());
  longest_ = std::max(longest_, content.size());
  strips_left_ = strips_left_ || token.lstrip;
  has_single_words_ = has_single_words_ || token.single_word;
}

AddedTokenMatcher::Match AddedTokenMatcher::longest_at(std::string_view text, size_t at) const {
  Match best;
  uint32_t node = at < text.size() ? roots_[static_cast<unsigned char>(text[at])] : 0;
  for (size_t end = at + 1; node != 0; ++end) {
    if (token_of_node_[node] != 0) best = {text.substr(at, end - at), token_of_node_[node] - 1};
    if (end >= text.size()) break;
    const auto child = children_.find(uint64_t{node} * 256 + static_cast<unsigned char>(text[end]));
    node = child == children_.end() ? 0 : child->second;
  }
  return best;
}

bool AddedTokenMatcher::stands_alone(std::string_view text, size_t begin, size_t end) const {
  const bool left = begin == 0 || !is_word_character(last_character(text.substr(0, begin)));
  const std::string_view rest = text.substr(end);
  return left && (rest.empty() || !is_word_character(rest.substr(0, utf8_size(rest))));
}

bool AddedTokenMatcher::for_each_segment(std::string_view text, bool with_special, Hidden& hidden,
                                         const std::function<bool(const Segment&)>& take) const {
  size_t taken = 0;
  for (size_t at = 0; at < text.size() && !tokens_.empty();) {
    if (roots_[static_cast<unsigned char>(text[at])] == 0) {
      ++at;
      continue;
    }
    const Match match = longest_at(text, at);
    if (match.content.empty()) {
      ++at;
      continue;
    }
    size_t begin = at, end = at + match.content.size();
    at = end;
    const AddedToken& token = tokens_[match.token];
    if ((token.special && !with_special) ||
        (token.single_word && !stands_alone(text, begin, end))) {
      hidden.emplace_back(begin, end);
      continue;
    }
    if (token.lstrip) begin = std::max(taken, begin - trailing_white_space(text.substr(0, begin)));
    if (token.rstrip) end += leading_white_space(text.substr(end));
    if (begin > taken && !take({taken, begin, nullptr})) return false;
    if (!take({begin, end, &token})) return false;
    taken = end;
  }
  return taken >= text.size() || take({taken, text.size(), nullptr});
}

}  // namespace orthant
