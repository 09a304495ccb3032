// SPDX-License-Identifier: Apache-2.0
// The way of routed tokens to the ranks that hold their experts, and back.
//
// Experts are folded over a group of ranks (parallel/rank_groups.h): with P_e expert-parallel and
// P_t expert-tensor ranks, expert e of E belongs to the P_t ranks with expert rank e / (E / P_e),
// each of which holds a part of its inner width.  A token's row goes to all of them; what they send
// back is added up.
//
// Invariants:
//  (I1) Every rank issues every exchange, also with no rows at all.
//  (I2) A rank computes its rows ordered by (expert, source rank, token, slot).  Ranks hold the
//       step's micro-batches in blocks, so that is the global order (docs/numerics.md).
//  (I3) Rows come back in the order in which they were sent: (expert, token, slot), once for each
//       expert-tensor rank of the expert.  Combine then works as without expert parallelism.
//
// Nothing is dropped or padded here.  In a group of one all functions leave the rows where they
// are.
#pragma once

#include <memory>
#include <vector>

#include "layers/grouped_linear.h"
#include "parallel/collectives.h"
#include "tensor/autograd/ops.h"

namespace orthant {

// The ranks that hold a layer's experts; by default this one alone.
struct ExpertPlacement {
  Group group = Group::self();
  int64_t expert_parallel_size = 1, tensor_parallel_size = 1;

  ExpertPlacement() = default;
  explicit ExpertPlacement(const RankGroups& ranks)
      : group(ranks.experts),
        expert_parallel_size(ranks.expert_parallel_size),
        tensor_parallel_size(ranks.expert_tensor_parallel_size) {}

  // What this rank holds of a layer's experts.
  ExpertShard shard(int64_t num_experts) const {
    const int64_t count = num_experts / expert_parallel_size;
    return {.first = group.rank() / tensor_parallel_size * count,
            .count = count,
            .part = group.rank() % tensor_parallel_size,
            .num_parts = tensor_parallel_size};
  }
};

// The way of one layer's rows in one micro-batch.
class Dispatch {
 public:
  // ids i32 [N, A], -1 = nowhere.  Ranks tell each other how many rows they send.  Collective.
  Dispatch(const ExpertPlacement& placement, int64_t num_experts, const Tensor& ids);

  // x [N, D]: this rank's tokens start on their way.
  AllToAll send(const Var& x) const;
  // What came, [R, D] in the order of (I2).
  Var receive(AllToAll& rows) const;
  // Rows of this rank's experts: expert i of them has [offsets[i], offsets[i + 1]).
  const std::shared_ptr<const std::vector<int64_t>>& offsets() const { return offsets_; }
  // The experts' results y [R, D'] go back: rows in the order of (expert, token, slot).
  Var send_back(const Var& y) const;
  // Where a (token, slot) of this rank is among those, i32 [N, A].
  const Tensor& row_of() const { return plan_.row_of; }
  // token * E + expert of each row that came, i64 [R]; tokens i64 [N]: what this rank's tokens are
  // called.  Collective.
  Tensor expert_tokens(const Tensor& tokens) const;
  // Rows that this rank sends to each expert [E], before they are copied for expert-tensor ranks.
  std::vector<int64_t> sent_rows() const;

 private:
  void plan_exchange();
  void plan_copies();
  void arrange(const std::vector<int64_t>& counts);

  ExpertPlacement placement_;
  int64_t num_experts_, experts_per_rank_;
  DispatchPlan plan_;
  std::shared_ptr<const std::vector<int64_t>> offsets_;
  // Of the rows that travel, by rank.
  std::vector<int64_t> send_rows_, recv_rows_;
  Tensor token_of_, sent_at_;       // i32: token of each row sent; rows of each token [N, A * P_t]
  Tensor copies_of_, original_of_;  // i32 [rows, P_t], [rows * P_t]; with P_t > 1 only
  Tensor arrival_of_, place_of_;    // i32: from the order of arrival to that of (I2), and back
};

}  // namespace orthant
