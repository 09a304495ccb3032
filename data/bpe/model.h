// SPDX-License-Identifier: Apache-2.0
// The "model" of a tokenizer.json of type BPE: vocabulary, merges, and what unknown text becomes.
#pragma once

#include <algorithm>
#include <array>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "data/bpe/json_place.h"
#include "data/bpe/merging.h"

namespace orthant {

// Immutable.
class BpeModel {
 public:
  // Byte-level: words are bytes, and tokens are written in byte_character's letters.
  BpeModel(const JsonPlace& place, bool is_byte_level);
  BpeModel(const BpeModel&) = delete;
  BpeModel& operator=(const BpeModel&) = delete;

  // Appends the ids of a word, which has fewer than 2^31 bytes.  Where in the word each of them
  // begins is in scratch.begins behind it.
  void encode(std::string_view word, std::vector<int32_t>& ids, MergeScratch& scratch) const;
  // The token of a byte that is part of no character, or the unknown one; -1: there is neither.
  int32_t byte_id(unsigned char byte) const;

  std::optional<int32_t> find(std::string_view token) const;  // as the file writes it
  // By id, as the file writes them; ids that it leaves out are empty.
  const std::vector<std::string>& tokens() const { return tokens_; }
  int32_t unknown_id() const { return unknown_; }  // -1: none
  // That every character is part of a token: none is left out.
  bool keeps_all() const { return unknown_ >= 0 || (is_byte_level_ && has_all_bytes()); }
  // That words may be cut before every `space` behind another character: no merge joins the two,
  // and nothing else looks at a word as a whole.
  bool may_cut_before(std::string_view space) const;

 private:
  void read_vocabulary(const JsonPlace& place);
  void read_merges(const JsonPlace& place);
  void read_bytes();
  bool has_all_bytes() const { return std::ranges::count(byte_ids_, -1) == 0; }
  void find_symbols(std::string_view word, MergeScratch& scratch) const;

  bool is_byte_level_, byte_fallback_, fuse_unknown_, ignore_merges_;
  int32_t unknown_ = -1;
  std::vector<std::string> tokens_;
  std::unordered_map<std::string_view, int32_t> ids_;       // of tokens_
  std::vector<std::string> word_texts_;                     // byte-level: the bytes of tokens
  std::unordered_map<std::string_view, int32_t> word_ids_;  // of word_texts_, with ignore_merges
  std::array<int32_t, 256> byte_ids_;                       // -1: there is none
  MergeTable merges_;
  std::vector<std::pair<int32_t, int32_t>> pairs_;  // that join
};

}  // namespace orthant
