// SPDX-License-Identifier: Apache-2.0
// SentencePiece's BPE, where pieces have scores, as one that goes by a list of merges.
#pragma once

#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace orthant {

struct ScoredPiece {
  std::string_view text;
  double score = 0;
};
// SentencePiece joins the two neighbours whose joined text is the piece of the highest score, the
// leftmost of several; so each way to cut a piece into two pieces is a merge, and merges stand in
// the order of their piece's score, of one piece those with the longer left part first, as Hugging
// Face's converter has them.  That is the same where no two pieces that can be joined have
// one score: Error(kConfig) beginning with `what` where they have.
std::vector<std::pair<std::string_view, std::string_view>> merges_of_pieces(
    const std::vector<ScoredPiece>& pieces, const std::string& what);

}  // namespace orthant
