// SPDX-License-Identifier: Apache-2.0
// Token dropping.  It sorts, so it stands outside the kernels, which use nothing of the standard
// library (kernels.h, K3).
#include "tensor/cpu/drop_tokens.h"

#include <algorithm>
#include <cmath>
#include <cstdio>
#include <limits>
#include <vector>

#include "base/parallel_for.h"

namespace orthant::cpu {
namespace {

struct Assignment {
  double score;
  int64_t token;
  int32_t expert;
  int64_t slot;
  bool operator<(const Assignment& other) const {
    if (score != other.score) return score > other.score;
    if (token != other.token) return token < other.token;
    return expert != other.expert ? expert < other.expert : slot < other.slot;
  }
};

template <class T>
T* row(const View& view, int64_t n) {
  return static_cast<T*>(view.data) + n * view.row_stride;
}

// Of one sequence, whose tokens begin at `first`.
template <class T>
void drop_of_sequence(const DropTokensArgs& args, int64_t sequence) {
  const int64_t first = sequence * args.sequence_length, slots = args.ids.shape[1];
  const int64_t group_size = args.num_experts / args.num_groups;
  const auto* valid = static_cast<const int32_t*>(args.valid.data);
  const auto* protected_rows = static_cast<const int32_t*>(args.protected_rows.data);
  int64_t tokens = 0;
  std::vector<std::vector<Assignment>> groups(static_cast<size_t>(args.num_groups));
  for (int64_t n = first; n < first + args.sequence_length; ++n) {
    tokens += valid[n] != 0;
    const int32_t* ids = row<int32_t>(args.ids, n);
    for (int64_t a = 0; a < slots; ++a) {
      row<int32_t>(args.kept, n)[a] = ids[a];
      if (ids[a] < 0) continue;
      const double score = static_cast<double>(row<T>(args.scores, n)[a]);
      groups[static_cast<size_t>(ids[a] / group_size)].push_back(
          {std::isnan(score) ? -std::numeric_limits<double>::infinity() : score, n, ids[a], a});
    }
  }
  double& dropped = static_cast<double*>(args.dropped.data)[sequence];
  dropped = 0;
  if (protected_rows[sequence]) return;
  const double budget = std::ceil(args.capacity_factor * static_cast<double>(tokens * slots) /
                                  static_cast<double>(args.num_groups));
  for (std::vector<Assignment>& group : groups) {
    if (static_cast<double>(group.size()) <= budget) continue;
    const auto kept = static_cast<size_t>(budget);
    std::sort(group.begin(), group.end());
    for (size_t i = kept; i < group.size(); ++i)
      row<int32_t>(args.kept, group[i].token)[group[i].slot] = -1;
    dropped += static_cast<double>(group.size() - kept);
  }
}

}  // namespace

int drop_tokens(const BackendCall* call, const DropTokensArgs* args) {
  const auto fail = [&](const char* what) {
    std::snprintf(call->error, static_cast<size_t>(call->error_size), "drop_tokens: %s", what);
    return 1;
  };
  if (args->sequence_length <= 0 || args->ids.shape[0] % args->sequence_length)
    return fail("the tokens are no whole number of sequences");
  if (args->num_groups < 1 || args->num_experts % args->num_groups)
    return fail("the groups do not divide the experts");
  const bool is_double = args->scores.dtype == DType::kF64;
  if (!is_double && args->scores.dtype != DType::kF32) return fail("the scores are not f64 or f32");
  for (int64_t n = 0; n < args->ids.shape[0]; ++n)
    for (int64_t a = 0; a < args->ids.shape[1]; ++a)
      if (row<int32_t>(args->ids, n)[a] >= args->num_experts) return fail("an id is too large");
  parallel_for(args->ids.shape[0] / args->sequence_length, 1, [&](int64_t begin, int64_t end) {
    for (int64_t s = begin; s < end; ++s) {
      if (is_double) {
        drop_of_sequence<double>(*args, s);
      } else {
        drop_of_sequence<float>(*args, s);
      }
    }
  });
  return 0;
}

}  // namespace orthant::cpu
