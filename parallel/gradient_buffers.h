// SPDX-License-Identifier: Apache-2.0
// Where weight gradients go: lane buffers, in buckets that are reduced over ranks while backward
// still runs.
//
// Invariants:
//  (I1) Each use of a parameter gets exactly one gradient per micro-batch; lane and micro-batch are
//       counted per use.
//  (I2) Slot s of a bucket holds the sum of 2^k finished lanes, or the lane that is being added up
//       (parallel/lanes.h).
//  (I3) A bucket is reduced when each of its members has closed its last lane; buckets are issued
//       in one fixed order on every rank, whatever order they become ready in.
//  (I4) Frozen parameters have no member of a bucket: they get no gradient.
//
// With ZeRO a rank gets the sums of its own slice of each bucket only (parallel/buckets.h): a
// reduce-scatter, which adds in the same tree as an all-reduce, so the bits are the same.
#pragma once

#include <functional>
#include <map>
#include <memory>
#include <unordered_map>
#include <vector>

#include "base/function_ref.h"
#include "parallel/buckets.h"
#include "parallel/lanes.h"

namespace orthant {

class GradientBuffers {
 public:
  struct Options {
    bool zero = false;
    int64_t bucket_bytes = 8 << 20;  // of one slot; a bucket is closed once it has as many
  };
  GradientBuffers(ParameterStore& store, const ReplicaGroups& groups, const LanePlan& lanes,
                  const Options& options);
  ~GradientBuffers();
  GradientBuffers(const GradientBuffers&) = delete;
  GradientBuffers& operator=(const GradientBuffers&) = delete;

  void begin_step();
  // The next steps have other micro-batches: buffers are made anew where their number changes.
  void set_lanes(const LanePlan& lanes);
  // Waits for all reductions.  Error(kInternal) naming a parameter that did not get all its
  // gradients.
  void finish_step();

  bool zero() const { return options_.zero; }
  const std::vector<Bucket>& buckets() const { return buckets_; }
  // All that have gradients, in the order of the store.
  std::vector<Parameter*> parameters() const;
  // The elements of a parameter whose sums this rank gets: all, with ZeRO those in its slice.
  ElementRange owned(const Parameter& parameter) const;
  // After finish_step(): the sum over the step's micro-batches of all ranks, of owned(parameter)
  // [its size], or of a range of a bucket that this rank owns.
  Tensor sum_of(const Parameter& parameter) const;
  Tensor sum_of(size_t bucket, const ElementRange& range) const;

 private:
  // Where the gradients of a use go.
  struct Entry final : GradientSink {
    Entry(GradientBuffers& to, ParameterUse& of, size_t in, int64_t at)
        : buffers(to), use(of), bucket(in), offset(at) {}
    void add(FunctionRef<void(const Tensor&, bool)> write) override { buffers.add(*this, write); }
    ElementRange range() const { return {offset, offset + use.parameter().numel()}; }

    GradientBuffers& buffers;
    ParameterUse& use;
    size_t bucket;
    int64_t offset;  // in the bucket
    int64_t micro_batch = 0;
  };
  // The slots of a bucket and how far it is in this step.
  struct Progress {
    std::vector<Tensor> slots;  // flat
    size_t closed = 0;          // members
    Work work;
  };
  void make_slots();
  void add(Entry& entry, FunctionRef<void(const Tensor&, bool)> write);
  Tensor part(const Entry& entry, int64_t slot) const;
  const Entry& entry_of(const Parameter& parameter) const;  // of its first use
  ElementRange owned(const Entry& entry) const;             // in the bucket
  void issue_ready_buckets();
  void add_ties();

  LanePlan lanes_;
  Options options_;
  std::vector<Bucket> buckets_;
  std::vector<Progress> progress_;   // by bucket
  std::map<size_t, Entry> entries_;  // by place among the store's uses
  std::unordered_map<const Parameter*, const Entry*> first_uses_;
  size_t next_bucket_ = 0;  // first one that was not issued yet
};

}  // namespace orthant
