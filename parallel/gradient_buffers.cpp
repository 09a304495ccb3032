// SPDX-License-Identifier: Apache-2.0
#include "parallel/gradient_buffers.h"

#include "base/context.h"
#include "base/error.h"
#include "tensor/ops/elementwise.h"

namespace orthant {

GradientBuffers::GradientBuffers(ParameterStore& store, const ReplicaGroups& groups,
                                 const LanePlan& lanes, const Options& options)
    : lanes_(lanes),
      options_(options),
      buckets_(plan_buckets(store, groups, options.bucket_bytes)),
      progress_(buckets_.size()) {
  for (size_t b = 0; b < buckets_.size(); ++b) {
    for (const Bucket::Member& member : buckets_[b].members) {
      Entry& entry =
          entries_.try_emplace(member.index, *this, *member.use, b, member.offset).first->second;
      member.use->attach(&entry);
      if (!member.use->is_tie()) first_uses_[&member.use->parameter()] = &entry;
    }
  }
  make_slots();
  begin_step();
}

void GradientBuffers::make_slots() {
  const CategoryScope category(MemoryCategory::kGradients);
  for (size_t b = 0; b < buckets_.size(); ++b) {
    const Bucket& bucket = buckets_[b];
    std::vector<Tensor>& slots = progress_[b].slots;
    slots.clear();  // their memory, before the next take as much
    // Zeros: nobody writes the gaps between members, but they are summed too.
    for (int64_t slot = 0; slot < lanes_.slots; ++slot) {
      slots.push_back(Tensor::zeros({bucket.numel}, wide_of(bucket.dtype),
                                    bucket.members.front().use->device()));
    }
  }
}

void GradientBuffers::set_lanes(const LanePlan& lanes) {
  const bool other_slots = lanes.slots != lanes_.slots;
  lanes_ = lanes;
  if (other_slots) make_slots();
}

GradientBuffers::~GradientBuffers() {
  for (const auto& [index, entry] : entries_) entry.use.attach(nullptr);
}

Tensor GradientBuffers::part(const Entry& entry, int64_t slot) const {
  const ElementRange range = entry.range();
  return progress_[entry.bucket].slots[static_cast<size_t>(slot)].flat(range.begin, range.end);
}

void GradientBuffers::begin_step() {
  next_bucket_ = 0;
  for (auto& [index, entry] : entries_) entry.micro_batch = 0;
  for (Progress& progress : progress_) {
    progress.closed = 0;
    progress.work = Work();
  }
}

void GradientBuffers::add(Entry& entry, FunctionRef<void(const Tensor&, bool)> write) {
  ORTHANT_CHECK(entry.micro_batch < lanes_.micro_batches, kInternal, "parameter ", entry.use.name(),
                ": a gradient arrived after the step's last micro-batch");
  const int64_t slot = lanes_.slot_of(entry.micro_batch);
  write(part(entry, slot).view(entry.use.shape()), !lanes_.starts_lane(entry.micro_batch));
  for (int64_t merge = 0; merge < lanes_.merges_after(entry.micro_batch); ++merge) {
    const Tensor left = part(entry, slot - merge - 1);
    ops::add(left, part(entry, slot - merge), left);
  }
  if (++entry.micro_batch == lanes_.micro_batches) {
    ++progress_[entry.bucket].closed;
    issue_ready_buckets();
  }
}

void GradientBuffers::issue_ready_buckets() {
  while (next_bucket_ < buckets_.size() &&
         progress_[next_bucket_].closed == buckets_[next_bucket_].members.size()) {
    const Bucket& bucket = buckets_[next_bucket_];
    Progress& progress = progress_[next_bucket_++];
    if (bucket.group.size() == 1) continue;
    const Tensor& flat = progress.slots[0];
    const ElementRange own = bucket.own_slice();
    progress.work = options_.zero ? bucket.group.reduce_scatter(flat, flat.flat(own.begin, own.end),
                                                                bucket.slice_sizes())
                                  : bucket.group.all_reduce(flat);
  }
}

void GradientBuffers::finish_step() {
  for (const auto& [index, entry] : entries_) {
    ORTHANT_CHECK(entry.micro_batch == lanes_.micro_batches, kInternal, "parameter ",
                  entry.use.name(), ": got ", entry.micro_batch, " gradients in a step of ",
                  lanes_.micro_batches, " micro-batches");
  }
  for (Progress& progress : progress_) progress.work.wait();
  add_ties();
}

// Uses of a parameter are cut alike, so their owned ranges are the same.  From the last use to the
// first: those of a pipeline's last stage are added up there before they come to the first
// (parallel/tied_stages.h), so the bits are the same.
void GradientBuffers::add_ties() {
  std::unordered_map<const Parameter*, Tensor> later;
  for (auto at = entries_.rbegin(); at != entries_.rend(); ++at) {
    const Entry& entry = at->second;
    const Tensor own = sum_of(entry.bucket, owned(entry));
    Tensor& sum = later[&entry.use.parameter()];
    if (sum.defined()) ops::add(own, sum, own);
    sum = own;
  }
}

std::vector<Parameter*> GradientBuffers::parameters() const {
  std::vector<Parameter*> parameters;
  for (const auto& [index, entry] : entries_) {
    if (!entry.use.is_tie()) parameters.push_back(&entry.use.parameter());
  }
  return parameters;
}

const GradientBuffers::Entry& GradientBuffers::entry_of(const Parameter& parameter) const {
  const auto found = first_uses_.find(&parameter);
  ORTHANT_CHECK(found != first_uses_.end(), kInternal, "parameter ", parameter.name(),
                ": it is frozen and has no gradient");
  return *found->second;
}

ElementRange GradientBuffers::owned(const Entry& entry) const {
  if (!options_.zero) return entry.range();
  return intersection(entry.range(), buckets_[entry.bucket].own_slice());
}

ElementRange GradientBuffers::owned(const Parameter& parameter) const {
  const Entry& entry = entry_of(parameter);
  return owned(entry).shifted(-entry.offset);
}

Tensor GradientBuffers::sum_of(const Parameter& parameter) const {
  const Entry& entry = entry_of(parameter);
  return sum_of(entry.bucket, owned(entry));
}

Tensor GradientBuffers::sum_of(size_t bucket, const ElementRange& range) const {
  return progress_[bucket].slots[0].flat(range.begin, range.end);
}

}  // namespace orthant
