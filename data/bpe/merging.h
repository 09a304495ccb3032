// SPDX-License-Identifier: Apache-2.0
// Byte-pair encoding of one word: the pair of lowest rank, of equals the leftmost, joins first
// (Sennrich et al., "Neural machine translation of rare words with subword units", ACL 2016).
#pragma once

#include <cstdint>
#include <vector>

#include "data/bpe/merge_table.h"

namespace orthant {

// What merging works in, kept between words.
struct MergeScratch {
  std::vector<int32_t> symbols;
  // Byte of the word at which each of the tokens that are merged begins: kept along where there are
  // as many as tokens.
  std::vector<uint32_t> begins;
  std::vector<MergeTable::Merge> merges;
  std::vector<uint32_t> next, previous;
  std::vector<uint64_t> queue;
};

// Joins tokens in place.  Takes n log n steps for n tokens; fewer than 2^31 of them.
void merge_tokens(const MergeTable& table, std::vector<int32_t>& tokens, MergeScratch& scratch);

}  // namespace orthant
