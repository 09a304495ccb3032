// SPDX-License-Identifier: Apache-2.0
#include "trainer/hub/gguf_pieces.h"

#include <algorithm>
#include <unordered_map>

#include "base/error.h"

namespace orthant {

std::vector<std::pair<std::string_view, std::string_view>> merges_of_pieces(
    const std::vector<ScoredPiece>& pieces, const std::string& what) {
  std::unordered_map<std::string_view, size_t> place_of;
  for (size_t i = 0; i < pieces.size(); ++i) place_of.emplace(pieces[i].text, i);
  struct Merge {
    size_t whole, left, right;
  };
  std::vector<Merge> merges;
  for (size_t whole = 0; whole < pieces.size(); ++whole) {
    const std::string_view text = pieces[whole].text;
    const auto first = std::ssize(merges);
    for (size_t at = utf8_size(text); at > 0 && at < text.size();
         at += utf8_size(text.substr(at))) {
      const auto left = place_of.find(text.substr(0, at)), right = place_of.find(text.substr(at));
      if (left != place_of.end() && right != place_of.end())
        merges.push_back({whole, left->second, right->second});
    }
    std::reverse(merges.begin() + first, merges.end());
  }
  const auto score = [&](const Merge& m) { return pieces[m.whole].score; };
  std::ranges::stable_sort(merges,
                           [&](const Merge& a, const Merge& b) { return score(a) > score(b); });
  for (size_t i = 1; i < merges.size(); ++i)
    ORTHANT_CHECK(
        score(merges[i - 1]) != score(merges[i]) || merges[i - 1].whole == merges[i].whole, kConfig,
        what, ": pieces '", pieces[merges[i - 1].whole].text, "' and '",
        pieces[merges[i].whole].text, "' have one score, ", score(merges[i]),
        "; which of them is made first is not known here");
  std::vector<std::pair<std::string_view, std::string_view>> result;
  for (const Merge& m : merges) result.emplace_back(pieces[m.left].text, pieces[m.right].text);
  return result;
}

}  // namespace orthant
