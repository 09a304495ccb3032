// SPDX-License-Identifier: Apache-2.0
#include "trainer/agree.h"

#include <algorithm>
#include <map>
#include <vector>

#include "base/checksum.h"
#include "base/error.h"

namespace orthant {
namespace {

// "0 text", or "KIND message" of an Error.
std::string outcome_of(const std::function<std::string()>& work) {
  try {
    return "0 " + work();
  } catch (const Error& error) {
    return concat(error.exit_code(), " ", error.what());
  } catch (const std::exception& error) {
    return concat(static_cast<int>(ErrorKind::kInternal), " ", error.what());
  }
}

int kind_of(const std::string& outcome) { return std::stoi(outcome); }
std::string text_of(const std::string& outcome) { return outcome.substr(outcome.find(' ') + 1); }

// "rank 3", "ranks 1, 3 and 2 more".
std::string ranks_text(const std::vector<int>& ranks) {
  constexpr size_t kMost = 8;
  std::string text = ranks.size() == 1 ? "rank " : "ranks ";
  for (size_t i = 0; i < std::min(ranks.size(), kMost); ++i)
    text += concat(i > 0 ? ", " : "", ranks[i]);
  return ranks.size() > kMost ? concat(text, " and ", ranks.size() - kMost, " more") : text;
}

}  // namespace

std::string first_rank_does(const Group& group, const std::function<std::string()>& work,
                            Site site) {
  const std::string own = group.rank() == 0 ? outcome_of(work) : "";
  const std::string outcome = group.gather_text(own, site).front();
  if (kind_of(outcome) != 0)
    throw_error(static_cast<ErrorKind>(kind_of(outcome)), text_of(outcome));
  return text_of(outcome);
}

void every_rank_does(const Group& group, const std::function<void()>& work, Site site) {
  const std::vector<std::string> outcomes = group.gather_text(outcome_of([&] {
                                                                work();
                                                                return std::string();
                                                              }),
                                                              site);
  std::vector<int> failed;
  for (int rank = 0; rank < group.size(); ++rank)
    if (kind_of(outcomes[static_cast<size_t>(rank)]) != 0) failed.push_back(rank);
  if (failed.empty()) return;
  const std::string& first = outcomes[static_cast<size_t>(failed.front())];
  const bool everywhere = failed.size() == outcomes.size();
  throw_error(static_cast<ErrorKind>(kind_of(first)),
              concat(everywhere ? "" : ranks_text(failed) + ": ", text_of(first)));
}

void check_same_everywhere(const Group& group, const std::string& what, const std::string& text,
                           const Differ& difference, Site site) {
  const std::vector<std::string> sums =
      group.gather_text(xxh3_128_hex(text.data(), text.size()), site);
  std::map<std::string, int> votes;
  for (const std::string& sum : sums) ++votes[sum];
  if (votes.size() == 1) return;
  const std::string* common = &sums.front();
  for (const std::string& sum : sums)
    if (votes[sum] > votes[*common]) common = &sum;
  std::vector<int> odd;
  for (size_t rank = 0; rank < sums.size(); ++rank)
    if (sums[rank] != *common) odd.push_back(static_cast<int>(rank));
  const auto first_of_others = std::find(sums.begin(), sums.end(), *common) - sums.begin();
  const std::vector<std::string> texts = group.gather_text(text, site);
  throw_error(ErrorKind::kConfig,
              concat(ranks_text(odd), ": ", what, " differs from that of the other ranks: ",
                     difference(texts[static_cast<size_t>(odd.front())],
                                texts[static_cast<size_t>(first_of_others)])));
}

}  // namespace orthant
