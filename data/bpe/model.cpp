// SPDX-License-Identifier: Apache-2.0
#include "data/bpe/model.h"

#include <algorithm>

#include "data/bpe/added_tokens.h"
#include "data/bpe/byte_alphabet.h"

namespace orthant {
namespace {

// Text that is written to a suffix or prefix of word parts; older files have "" for none.
void check_no_affix(const JsonPlace& place, const char* key) {
  if (place.has(key) && !place.text(key).empty()) place.at(key).refuse_name(place.text(key));
}

std::string byte_token(unsigned byte) {
  constexpr const char* kDigits = "0123456789ABCDEF";
  return {'<', '0', 'x', kDigits[byte >> 4], kDigits[byte & 15], '>'};
}

// "a b", or ["a", "b"].
std::pair<std::string_view, std::string_view> halves_of(const Json& merge, const JsonPlace& all,
                                                        size_t index) {
  if (merge.is_array() && merge.size() == 2 && merge[0].is_string() && merge[1].is_string())
    return {merge[0].get_ref<const std::string&>(), merge[1].get_ref<const std::string&>()};
  if (!merge.is_string()) all.at(index).refuse("want a pair of tokens, got ", merge.type_name());
  const std::string_view text = merge.get_ref<const std::string&>();
  const size_t space = text.find(' ');
  if (space == std::string_view::npos || text.find(' ', space + 1) != std::string_view::npos)
    all.at(index).refuse("want two tokens with a space between, got '", text, "'");
  return {text.substr(0, space), text.substr(space + 1)};
}

}  // namespace

BpeModel::BpeModel(const JsonPlace& place, bool is_byte_level)
    : is_byte_level_(is_byte_level),
      byte_fallback_(place.flag("byte_fallback", false)),
      fuse_unknown_(place.flag("fuse_unk", false)),
      ignore_merges_(place.flag("ignore_merges", false)),
      merges_(place.at("merges").size()) {
  const JsonPlace type = place.find("type");  // older files have none
  if (!type.is_null() && type.text() != "BPE") type.refuse_name(type.text());
  const JsonPlace dropout = place.find("dropout");
  if (!dropout.is_null() && dropout.value() != 0) dropout.refuse("dropout is not supported");
  check_no_affix(place, "continuing_subword_prefix");
  check_no_affix(place, "end_of_word_suffix");
  read_vocabulary(place.at("vocab"));
  read_merges(place.at("merges"));
  if (place.has("unk_token")) {
    const auto found = find(place.text("unk_token"));
    if (!found) place.at("unk_token").refuse("'", place.text("unk_token"), "' is no token");
    unknown_ = *found;
  }
  read_bytes();
  if (is_byte_level && byte_fallback_ && !has_all_bytes())
    place.at("byte_fallback").refuse("byte_fallback is not supported with ByteLevel");
}

void BpeModel::read_vocabulary(const JsonPlace& place) {
  if (!place.value().is_object()) place.refuse("want an object, got ", place.value().type_name());
  int32_t largest = -1;
  for (const auto& [token, id] : place.value().items()) {
    if (!id.is_number_unsigned() || id.get<uint64_t>() > static_cast<uint64_t>(kMaxTokenId))
      place.at(token).number(kMaxTokenId);
    largest = std::max(largest, id.get<int32_t>());
  }
  tokens_.resize(static_cast<size_t>(largest + 1));
  ids_.reserve(place.value().size());
  std::vector<bool> is_taken(tokens_.size());
  for (const auto& [token, id] : place.value().items()) {
    const auto at = id.get<size_t>();
    if (is_taken[at])
      place.at(token).refuse("id ", at, " is there twice, also as '", tokens_[at], "'");
    is_taken[at] = true;
    tokens_[at] = token;
    ids_.emplace(tokens_[at], static_cast<int32_t>(at));
  }
}

void BpeModel::read_merges(const JsonPlace& place) {
  std::string joined;
  for (size_t i = 0; i < place.value().size(); ++i) {
    const auto [left, right] = halves_of(place.value()[i], place, i);
    joined = left;
    joined += right;
    const auto a = find(left), b = find(right), whole = find(joined);
    for (const auto& [id, text] : {std::pair{a, left}, {b, right}, {whole, joined}})
      if (!id) place.at(i).refuse("'", text, "' is no token of the vocabulary");
    merges_.add(*a, *b, {static_cast<uint32_t>(i), *whole});
    pairs_.emplace_back(*a, *b);
  }
}

void BpeModel::read_bytes() {
  for (unsigned byte = 0; byte < 256; ++byte) {
    const std::string token =
        is_byte_level_ ? byte_character(static_cast<unsigned char>(byte)) : byte_token(byte);
    const bool wanted = is_byte_level_ || byte_fallback_;
    byte_ids_[byte] = wanted ? find(token).value_or(-1) : -1;
  }
  if (!is_byte_level_ || !ignore_merges_) return;
  word_texts_.resize(tokens_.size());
  for (size_t id = 0; id < tokens_.size(); ++id) {
    const auto bytes = bytes_of_token(tokens_[id]);
    if (!bytes || bytes->empty()) continue;
    word_texts_[id] = *bytes;
    word_ids_.emplace(word_texts_[id], static_cast<int32_t>(id));
  }
}

std::optional<int32_t> BpeModel::find(std::string_view token) const {
  const auto found = ids_.find(token);
  if (found == ids_.end()) return std::nullopt;
  return found->second;
}

int32_t BpeModel::byte_id(unsigned char byte) const {
  return byte_ids_[byte] >= 0 ? byte_ids_[byte] : unknown_;
}

bool BpeModel::may_cut_before(std::string_view space) const {
  if (is_byte_level_ || ignore_merges_ || !has_all_bytes()) return false;
  return std::ranges::none_of(pairs_, [&](const std::pair<int32_t, int32_t>& pair) {
    return tokens_[static_cast<size_t>(pair.second)].starts_with(space) &&
           !tokens_[static_cast<size_t>(pair.first)].ends_with(space);
  });
}

// The tokens of single characters.  One that is unknown becomes its bytes, where all of these are
// tokens, else the unknown token, which several in a row may share, else nothing.
void BpeModel::find_symbols(std::string_view word, MergeScratch& scratch) const {
  scratch.symbols.clear();
  scratch.begins.clear();
  const auto add = [&](int32_t id, size_t begin) {
    scratch.symbols.push_back(id);
    scratch.begins.push_back(static_cast<uint32_t>(begin));
  };
  bool unknown_waits = false;
  size_t unknown_begin = 0;
  const auto flush = [&] {
    if (unknown_waits) add(unknown_, unknown_begin);
    unknown_waits = false;
  };
  for (size_t at = 0, size = 0; at < word.size(); at += size) {
    size = is_byte_level_ ? 1 : utf8_size(word.substr(at));
    const std::string_view c = word.substr(at, size);
    const auto byte = [](char b) { return static_cast<unsigned char>(b); };
    const int32_t id = is_byte_level_ ? byte_ids_[byte(c[0])] : find(c).value_or(-1);
    if (id >= 0) {
      flush();
      add(id, at);
    } else if (byte_fallback_ &&
               std::ranges::all_of(c, [&](char b) { return byte_ids_[byte(b)] >= 0; })) {
      for (size_t i = 0; i < size; ++i) add(byte_ids_[byte(c[i])], at + i);
    } else if (unknown_ >= 0) {
      if (!fuse_unknown_) flush();
      if (!unknown_waits) unknown_begin = at;
      unknown_waits = true;
    }
  }
  flush();
}

void BpeModel::encode(std::string_view word, std::vector<int32_t>& ids,
                      MergeScratch& scratch) const {
  if (ignore_merges_) {
    const auto& whole = is_byte_level_ ? word_ids_ : ids_;
    if (const auto found = whole.find(word); found != whole.end()) {
      scratch.begins.assign(1, 0);
      return ids.push_back(found->second);
    }
  }
  std::vector<int32_t>& symbols = scratch.symbols;
  find_symbols(word, scratch);
  merge_tokens(merges_, symbols, scratch);
  ids.insert(ids.end(), symbols.begin(), symbols.end());
}

}  // namespace orthant
