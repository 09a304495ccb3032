// SPDX-License-Identifier: Apache-2.0
// Ranks that talk to each other.
//
// Every operation is collective over the group (send and recv: over the two ranks): every rank
// calls it, in the same order, with sizes that fit; a rank with nothing to say passes empty
// tensors.  Operations return a Work; tensors must stay alive and untouched until wait() has
// returned (Work keeps the handles).  Every wait has a deadline and throws Error(kComm) that names
// operation, group, bytes, call site and, where it can be known, the ranks that are missing.  A
// group of one does nothing but the local copy, so callers need no special case.
//
// Sums are made in one fixed order, the binary tree over ranks (pairs, pairs of pairs, ...): the
// same inputs give the same bits on every implementation.
#pragma once

#include <cstdint>
#include <memory>
#include <source_location>
#include <span>
#include <string>
#include <vector>

#include "tensor/tensor.h"

namespace orthant {

using Site = std::source_location;

class WorkImpl;

// A pending operation.  Destroying it without wait() is allowed: the operation still completes.
class Work {
 public:
  Work() = default;  // done
  explicit Work(std::shared_ptr<WorkImpl> impl) : impl_(std::move(impl)) {}
  void wait();  // returns when the results may be used by this rank; throws Error(kComm)
  bool test();  // makes progress; true when wait() would not block
 private:
  std::shared_ptr<WorkImpl> impl_;
};

class GroupImpl;

class Group {
 public:
  Group() = default;
  explicit Group(std::shared_ptr<GroupImpl> impl) : impl_(std::move(impl)) {}
  static Group self();  // the group of this rank alone

  int rank() const;
  int size() const;
  const std::string& name() const;              // for reports: "world", "dp"
  const std::vector<int>& world_ranks() const;  // of the members, in the order of rank()

  // Collective over this group: ranks of equal colour form a group, ordered by (key, rank).  color
  // < 0: in none (undefined Group).
  Group split(int color, int key, const std::string& name, Site site = Site::current()) const;

  // Row counts are of the first dimension; send_rows[r] rows go to rank r, recv_rows[r] come from
  // it, in rank order.
  Work all_to_all(const Tensor& send, std::span<const int64_t> send_rows, const Tensor& recv,
                  std::span<const int64_t> recv_rows, Site site = Site::current()) const;
  // recv holds every rank's rows in rank order; recv_rows[r] is what rank r sends.
  Work all_gather(const Tensor& send, const Tensor& recv, std::span<const int64_t> recv_rows,
                  Site site = Site::current()) const;
  // The same number of rows of every rank.
  Work all_gather(const Tensor& send, const Tensor& recv, Site site = Site::current()) const;
  Work broadcast(const Tensor& tensor, int root, Site site = Site::current()) const;
  // message: which one it is, "activations of stage 2, micro-batch 0".  It does not travel but in
  // checked mode (contract.h), where both sides must say the same.
  Work send(const Tensor& tensor, int to, Site site = Site::current(),
            const std::string& message = "") const;
  Work recv(const Tensor& tensor, int from, Site site = Site::current(),
            const std::string& message = "") const;
  void barrier(Site site = Site::current()) const;

  // Sum over ranks of floating tensors, in the fixed tree, in the tensor's dtype.  In place for
  // all_reduce.
  Work all_reduce(const Tensor& tensor, Site site = Site::current()) const;
  // send [sum of rows, ...]: rank r gets the sum of everybody's r-th slice of rows[r] rows.
  Work reduce_scatter(const Tensor& send, const Tensor& recv, std::span<const int64_t> rows,
                      Site site = Site::current()) const;

  // Small host values, blocking.  Sums in rank order.
  std::vector<double> sum(std::span<const double> values, Site site = Site::current()) const;
  double sum(double value, Site site = Site::current()) const;
  int64_t max(int64_t value, Site site = Site::current()) const;
  // Everybody's text, by rank.
  std::vector<std::string> gather_text(const std::string& text, Site site = Site::current()) const;

  // Makes pending operations move; cheap; called between the closures of a backward pass.
  void progress() const;
  // Wakes peers that wait for this rank with Error(kComm) carrying `reason`; called before leaving
  // on an error.
  void abort(const std::string& reason) const;
  double deadline_seconds() const;
  // Of this rank's world: shared with every group split from it.
  void set_deadline_seconds(double seconds) const;
  // Checked mode (contract.h), of this rank's world: all ranks set it, with nothing under way.
  void set_check_collectives(bool check) const;
  void set_step(int64_t step) const;      // for the operation ring
  std::string ring_text(int last) const;  // the last operations of this rank, one a line

  const std::shared_ptr<GroupImpl>& impl() const { return impl_; }  // for parallel/comm

 private:
  std::shared_ptr<GroupImpl> impl_;
};

// sum = ((p0+p1)+(p2+p3))+... of `parts` (equal sizes), which it overwrites: the order that all
// sums over ranks use.  sum may be parts[0].
void tree_sum(std::span<const Tensor> parts, const Tensor& sum);

}  // namespace orthant
