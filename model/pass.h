// SPDX-License-Identifier: Apache-2.0
// What layers need to know of a micro-batch: made once, on the host, out of its columns.
#pragma once

#include <functional>
#include <vector>

#include "data/micro_batch.h"
#include "layers/lora.h"
#include "moe/moe_layer.h"
#include "parallel/rank_groups.h"

namespace orthant {

// What a loop says of a micro-batch beside its columns.
struct PassOptions {
  int64_t step = 0;               // of training; 0: another pass, in which nothing is dropped out
  int64_t first_token = 0;        // global index of the first token; keys dropout, as does the step
  double loss_scale = 1.0;        // MoeContext::loss_scale
  bool drops_tokens = false;      // in training, where moe.capacity_factor is set
  bool predicts_further = false;  // in training, where the model has an MtpLayer
  std::function<Tensor(int64_t layer)> replay = {};  // MoeContext::replay
};

// Serves every stage of this rank that sees the micro-batch; each layer adds its routing to `moe`.
// Must stay where it is until backward has run.
struct Pass {
  Pass() = default;
  Pass(const MicroBatch& batch, const RankGroups& ranks, Device device,
       const PassOptions& options = {});

  const TokenRows& rows() const { return moe.rows; }
  // This rank's local rows of a column of the micro-batch (host, [B * T]), on the device.
  Tensor local(const Tensor& column) const { return rows().local(column).to(device); }

  Device device;
  // i32 of the local rows (parallel/token_rows.h), on the device but for the ids, out of which the
  // embedding makes what it looks up.  ids < 0 are padding; labels < 0 are not counted.
  Tensor ids, labels, positions, doc_start;
  Tensor next_ids, next_labels;  // of next_columns(), where the model predicts further
  Tensor whole_doc_start;        // of the whole micro-batch
  MoeContext moe;
  uint64_t step = 0;
  // Global tokens of the stream's rows (i64), and of those that adapters see.
  Tensor stream_tokens;
  AdapterRows adapter_rows;
};

// The part of it that tells what tokens there are.  ids: of the whole micro-batch, < 0 for padding.
MoeContext make_moe_context(const TokenRows& rows, std::span<const int32_t> ids, Device device);

}  // namespace orthant
