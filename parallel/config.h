// SPDX-License-Identifier: Apache-2.0
// What a user says about the layout of a run over ranks.
#pragma once

#include <algorithm>
#include <string>
#include <vector>

#include "base/config/fields.h"

namespace orthant {

// What of a model a layout cuts.
struct ModelSizes {
  int64_t heads = 1, kv_heads = 1;
  int64_t experts = 0, expert_width = 0;  // routed ones; 0: a dense model
  int64_t sequence_length = 1;
};

// What backward computes again.  Selective: what remake() is called for.  Full: all
// of a layer but its input.
enum class Recompute { kNone, kSelective, kFull };
const EnumNames<Recompute>& recompute_names();
enum class ContextKind { kRing, kUlysses };
const EnumNames<ContextKind>& context_kind_names();
// How tensors of devices travel; auto: directly unless ranks share a device.
enum class DeviceTransport { kAuto, kStaged, kNccl };

struct ParallelConfig {
  int64_t data_parallel_size = 0;  // 0: what the number of ranks leaves
  int64_t tensor_parallel_size = 1;
  bool sequence_parallel = true;
  int64_t pipeline_parallel_size = 1;
  std::string pipeline_schedule = "1f1b";
  int64_t pipeline_chunks = 0;  // stages of a rank; 0: as many as the schedule has by itself
  std::vector<int64_t> pipeline_layers;  // of each stage; empty: balanced by cost
  int64_t context_parallel_size = 1;
  ContextKind context_parallel_kind = ContextKind::kRing;
  int64_t zero_stage = 1;
  int64_t expert_parallel_size = 1;
  int64_t expert_tensor_parallel_size = 1;
  Recompute recompute = Recompute::kNone;
  int64_t recompute_layers = 0;  // the first ones of each stage; 0: all
  double timeout_seconds = 600.0;
  int64_t bucket_bytes = 8 << 20;  // of gradients that are reduced at once
  DeviceTransport device_transport = DeviceTransport::kAuto;
  bool check_collectives = false;

  void fields(FieldVisitor& v);
  std::string text() const;  // "dp 4, ep 2"; of a resolved one
  // Ranks that hold one copy of the dense model, and of the micro-batch they compute.
  int64_t ranks_per_replica() const {
    return tensor_parallel_size * context_parallel_size * pipeline_parallel_size;
  }
  // The fewest ranks that it fits, for a dry run.
  int least_ranks() const;
  // Settles what the number of ranks leaves open: before the batch is known.  Error(kConfig) where
  // the sizes do not multiply to it.
  void resolve(int world_size);
  // Error(kConfig) when data-parallel ranks cannot share a step's micro-batches evenly, naming the
  // nearest numbers of ranks that can, and the nearest batches.
  void check_batch(int64_t global_batch_size, int64_t micro_batch_size) const;
  // Error(kConfig) when the ranks cannot share the model, naming the nearest sizes that can.
  void check_model(int world_size, const ModelSizes& model) const;
  // Tensor-parallel ranks that hold the same key and value heads.
  int key_value_copies(int64_t kv_heads) const {
    return static_cast<int>(std::max<int64_t>(1, tensor_parallel_size / kv_heads));
  }

 private:
  std::string replica_text() const;
  void check_heads(const ModelSizes& model) const;
  void check_context(const ModelSizes& model) const;
  void check_experts(int world_size, const ModelSizes& model) const;
};

}  // namespace orthant
