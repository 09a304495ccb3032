// SPDX-License-Identifier: Apache-2.0
// Differentiable collectives, in conjugate pairs.
//
// Convention.  A tensor is, over a group, one of
//   replicated  every rank holds the same values;           its gradient is replicated
//   partial     the value is the sum of what ranks hold;    its gradient is replicated
//   sharded     every rank holds a part along one dim;      its gradient is sharded alike
// and a replicated tensor that ranks use for different things, each alone, has a partial gradient:
// that is what copy_to and gather_partial are for.
//
//                      forward                              backward
//   copy_to            replicated -> replicated, identity   partial -> replicated, all_reduce
//   reduce_from        partial -> replicated, all_reduce    replicated -> replicated, identity
//   split_to           replicated -> sharded, own part      sharded -> replicated, all_gather
//   gather_replicated  sharded -> replicated, all_gather    replicated -> sharded, own part
//   gather_partial     sharded -> replicated, all_gather    partial -> sharded, reduce_scatter
//   reduce_scatter     partial -> sharded, reduce_scatter   sharded -> replicated, all_gather
//   all_to_all         sharded rows, exchanged              exchanged back
//
// Every call is collective over the group, in forward and in backward: ranks must agree on which
// inputs need a gradient, and run backward in one order.  A group of one gives x itself.  Calls
// block until the result is there; sums have the bits of tree_sum in the tensor's dtype.
#pragma once

#include <cstdint>
#include <memory>
#include <span>

#include "parallel/comm/group.h"
#include "tensor/autograd/var.h"

namespace orthant {

Var copy_to(const Var& x, const Group& group, Site site = Site::current());
Var reduce_from(const Var& x, const Group& group, Site site = Site::current());

// dim: 0, or the last one (-1).  sizes[r] is rank r's part of that dimension; without them the
// parts are equal (Error(kInternal) when the dimension does not divide).
Var split_to(const Var& x, int dim, const Group& group, std::span<const int64_t> sizes = {},
             Site site = Site::current());
Var gather_replicated(const Var& x, int dim, const Group& group,
                      std::span<const int64_t> sizes = {}, Site site = Site::current());
Var gather_partial(const Var& x, int dim, const Group& group, std::span<const int64_t> sizes = {},
                   Site site = Site::current());
Var reduce_scatter(const Var& x, int dim, const Group& group, std::span<const int64_t> sizes = {},
                   Site site = Site::current());

// send_rows[r] rows of x (in rank order) go to rank r; the result has recv_rows[r] rows of rank r.
Var all_to_all(const Var& x, std::span<const int64_t> send_rows, std::span<const int64_t> recv_rows,
               const Group& group, Site site = Site::current());

// The same in two halves: what is computed in between travels with the rows, in backward too.
class AllToAll {
 public:
  // Starts.
  AllToAll(const Var& x, std::span<const int64_t> send_rows, std::span<const int64_t> recv_rows,
           const Group& group, Site site = Site::current());
  // Waits for the rows; once.
  Var finish();

 private:
  struct Exchange;
  std::shared_ptr<Exchange> exchange_;  // null in a group of one
  Var pending_;
};

}  // namespace orthant
