// SPDX-License-Identifier: Apache-2.0
// Token dropping.  Each assignment counts those that stand before it in its sequence and group:
// quadratic in the tokens of a sequence, but without sorting, and every result is independent.
#pragma once

#include "tensor/cuda/kernels/element.h"

namespace orthant::cuda::kernels {

// Element i is an assignment (token, slot).
template <class T>
struct DropTokens {
  Rows<const int32_t> ids;
  Rows<const T> scores;
  const int32_t *valid, *protected_rows;
  Rows<int32_t> kept;
  int64_t sequence_length, group_size, num_groups;
  double capacity_factor;

  // NaN stands last.
  ORTHANT_HD T key(int64_t n, int64_t a) const {
    const T score = scores[n][a];
    return score == score ? score : static_cast<T>(-kInfinity);
  }
  ORTHANT_HD bool is_before(int64_t m, int64_t b, int64_t n, int64_t a) const {
    const T other = key(m, b), mine = key(n, a);
    if (other != mine) return other > mine;
    if (m != n) return m < n;
    return ids[m][b] != ids[n][a] ? ids[m][b] < ids[n][a] : b < a;
  }
  ORTHANT_HD void operator()(int64_t i) const {
    const int64_t n = i / ids.cols, a = i % ids.cols, s = n / sequence_length;
    const int32_t id = ids[n][a];
    kept[n][a] = id;
    if (id < 0 || protected_rows[s]) return;
    int64_t tokens = 0, before = 0;
    for (int64_t m = s * sequence_length; m < (s + 1) * sequence_length; ++m) {
      tokens += valid[m] != 0;
      for (int64_t b = 0; b < ids.cols; ++b)
        before +=
            ids[m][b] >= 0 && ids[m][b] / group_size == id / group_size && is_before(m, b, n, a);
    }
    const double budget = ::ceil(capacity_factor * static_cast<double>(tokens * ids.cols) /
                                 static_cast<double>(num_groups));
    if (static_cast<double>(before) >= budget) kept[n][a] = -1;
  }
};

// Element s: dropped assignments of a sequence.
struct CountDropped {
  Rows<const int32_t> ids, kept;
  double* dropped;
  int64_t sequence_length;
  ORTHANT_HD void operator()(int64_t s) const {
    double count = 0;
    for (int64_t n = s * sequence_length; n < (s + 1) * sequence_length; ++n)
      for (int64_t a = 0; a < ids.cols; ++a) count += ids[n][a] >= 0 && kept[n][a] < 0;
    dropped[s] = count;
  }
};

template <class Exec>
int drop_tokens(const BackendCall* call, const DropTokensArgs* args) {
  Exec exec(call, "drop_tokens");
  const Rows<const int32_t> ids = rows_of<const int32_t>(args->ids);
  if (args->sequence_length <= 0 || ids.rows % args->sequence_length)
    return exec.fail("the tokens are no whole number of sequences");
  if (args->num_groups < 1 || args->num_experts % args->num_groups)
    return exec.fail("the groups do not divide the experts");
  if (const int status = check_ids(exec, ids, args->num_experts, "an id is too large"))
    return status;
  return with_wide_dtype(exec, args->scores.dtype, [&]<class T>(T) {
    const DropTokens<T> drop{.ids = ids,
                             .scores = rows_of<const T>(args->scores),
                             .valid = data_of<const int32_t>(args->valid),
                             .protected_rows = data_of<const int32_t>(args->protected_rows),
                             .kept = rows_of<int32_t>(args->kept),
                             .sequence_length = args->sequence_length,
                             .group_size = args->num_experts / args->num_groups,
                             .num_groups = args->num_groups,
                             .capacity_factor = args->capacity_factor};
    if (const int status = exec.elements(ids.numel(), drop)) return status;
    return exec.elements(ids.rows / args->sequence_length,
                         CountDropped{ids, rows_of<const int32_t>(args->kept),
                                      data_of<double>(args->dropped), args->sequence_length});
  });
}

}  // namespace orthant::cuda::kernels
