// SPDX-License-Identifier: Apache-2.0
#include "parallel/gradient_buffers.h"

#include "base/context.h"
#include "base/error.h"
#include "tensor/ops/elementwise.h"

namespace orthant {

struct GradientBuffers::Bucket {
  bool expert = false;
  DType dtype = DType::kF32;
  int64_t numel = 0;
  std::vector<Tensor> slots;  // flat
  int64_t members = 0, closed = 0;
  Work work;
};

struct GradientBuffers::Entry {
  Parameter* parameter = nullptr;
  Bucket* bucket = nullptr;
  int64_t offset = 0;  // in the bucket
  int64_t micro_batch = 0;

  Tensor part(int64_t slot) const {
    return bucket->slots[static_cast<size_t>(slot)].flat(offset, offset + parameter->numel());
  }
};

GradientBuffers::GradientBuffers(ParameterStore& store, Groups groups, const LanePlan& lanes,
                                 int64_t bucket_bytes)
    : store_(store), groups_(std::move(groups)), lanes_(lanes), entries_(store.all().size()) {
  const CategoryScope category(MemoryCategory::kGradients);
  for (int expert = 0; expert < 2; ++expert) {
    Bucket* open = nullptr;
    for (size_t i = store.all().size(); i-- > 0;) {
      Parameter& parameter = *store.all()[i];
      if (!parameter.trainable() || parameter.is_expert() != (expert == 1)) continue;
      const DType dtype = parameter.grad_dtype();
      if (!open || open->dtype != dtype || open->numel * size_of(dtype) >= bucket_bytes) {
        open = buckets_.emplace_back(std::make_unique<Bucket>()).get();
        open->expert = expert == 1;
        open->dtype = dtype;
      }
      entries_[i] = {.parameter = &parameter, .bucket = open, .offset = open->numel};
      open->numel += parameter.numel();
      ++open->members;
      parameter.set_gradient_buffers(this, static_cast<int>(i));
    }
  }
  const Device device = store.all().empty() ? Device{} : store.all().front()->value().device();
  for (const auto& bucket : buckets_) {
    for (int64_t slot = 0; slot < lanes_.slots; ++slot) {
      bucket->slots.push_back(Tensor::empty({bucket->numel}, bucket->dtype, device));
    }
  }
  begin_step();
}

GradientBuffers::~GradientBuffers() {
  for (const Entry& entry : entries_) {
    if (entry.parameter) entry.parameter->set_gradient_buffers(nullptr, -1);
  }
}

void GradientBuffers::begin_step() {
  next_bucket_ = 0;
  for (Entry& entry : entries_) entry.micro_batch = 0;
  for (const auto& bucket : buckets_) {
    bucket->closed = 0;
    bucket->work = Work();
  }
}

void GradientBuffers::add(int index, FunctionRef<void(const Tensor&, bool)> write) {
  Entry& entry = entries_[static_cast<size_t>(index)];
  ORTHANT_CHECK(entry.micro_batch < lanes_.micro_batches, kInternal, "parameter ",
                entry.parameter->name(), ": a gradient arrived after the step's last micro-batch");
  const int64_t slot = lanes_.slot_of(entry.micro_batch);
  write(entry.part(slot).view(entry.parameter->value().shape()),
        !lanes_.starts_lane(entry.micro_batch));
  for (int64_t merge = 0; merge < lanes_.merges_after(entry.micro_batch); ++merge) {
    const Tensor left = entry.part(slot - merge - 1);
    ops::add(left, entry.part(slot - merge), left);
  }
  if (++entry.micro_batch == lanes_.micro_batches) {
    ++entry.bucket->closed;
    issue_ready_buckets();
  }
}

void GradientBuffers::issue_ready_buckets() {
  while (next_bucket_ < buckets_.size() &&
         buckets_[next_bucket_]->closed == buckets_[next_bucket_]->members) {
    Bucket& bucket = *buckets_[next_bucket_++];
    const Group& group = bucket.expert ? groups_.expert : groups_.dense;
    if (group.size() > 1) bucket.work = group.all_reduce(bucket.slots[0]);
  }
}

void GradientBuffers::poll() {
  for (size_t i = 0; i < next_bucket_; ++i) buckets_[i]->work.test();
}

void GradientBuffers::finish_step() {
  for (const Entry& entry : entries_) {
    if (!entry.parameter) continue;
    ORTHANT_CHECK(entry.micro_batch == lanes_.micro_batches, kInternal, "parameter ",
                  entry.parameter->name(), ": got ", entry.micro_batch, " gradients in a step of ",
                  lanes_.micro_batches, " micro-batches");
  }
  for (const auto& bucket : buckets_) bucket->work.wait();
  for (const Entry& entry : entries_) {
    if (!entry.parameter || !entry.parameter->tied_to()) continue;
    const Tensor first = sum_of(*entry.parameter->tied_to());
    ops::add(first, sum_of(*entry.parameter), first);
  }
}

Tensor GradientBuffers::sum_of(const Parameter& parameter) const {
  ORTHANT_CHECK(parameter.gradient_index() >= 0, kInternal, "parameter ", parameter.name(),
                ": it is frozen and has no gradient");
  return entries_[static_cast<size_t>(parameter.gradient_index())].part(0).view(
      parameter.value().shape());
}

}  // namespace orthant
