// SPDX-License-Identifier: Apache-2.0
#include "model/pass.h"

#include "moe/protected_rows.h"

namespace orthant {

MoeContext make_moe_context(const TokenRows& rows, std::span<const int32_t> ids, Device device) {
  MoeContext moe{.rows = rows, .routed_tokens = Tensor::zeros({rows.sequences()}, DType::kF64)};
  std::vector<int32_t> valid(ids.size());
  for (size_t i = 0; i < ids.size(); ++i) {
    valid[i] = ids[i] >= 0;
    moe.routed_tokens.as<double>()[static_cast<int64_t>(i) / rows.length()] += valid[i];
  }
  const Tensor whole = Tensor::from_i32({std::ssize(ids)}, valid);
  moe.valid = whole.to(device);
  moe.own_valid = rows.own(whole).to(device);
  return moe;
}

namespace {

// Own rows of the stream (layers/tensor_parallel.h), counted from its first.
std::vector<TokenRows::Run> stream_runs(const TokenRows& rows, const TensorParallel& tensor,
                                        int64_t first_token) {
  const int64_t begin = tensor.cuts_rows() ? rows.first() : 0;
  const int64_t end = tensor.cuts_rows() ? begin + rows.count() : rows.num_local();
  std::vector<TokenRows::Run> runs = rows.runs(begin, end);
  for (TokenRows::Run& run : runs)
    run = {run.begin - begin, run.end - begin, first_token + run.token};
  return runs;
}

}  // namespace

Pass::Pass(const MicroBatch& batch, const RankGroups& ranks, Device on, const PassOptions& options)
    : device(on),
      moe(make_moe_context(ranks.rows_of(batch.sequences, batch.length), batch.ids, on)),
      step(static_cast<uint64_t>(options.step)),
      stream(stream_runs(rows(), {ranks.tensor, ranks.sequence_parallel}, options.first_token)) {
  const auto column = [&](const std::vector<int32_t>& values) {
    return Tensor::from_i32({batch.num_tokens()}, values);
  };
  ids = rows().local(column(batch.ids));
  labels = local(column(batch.labels));
  positions = local(column(batch.positions));
  if (options.predicts_further) {
    const NextColumns next = next_columns(batch);
    next_ids = rows().local(column(next.ids));
    next_labels = local(column(next.labels));
  }
  const Tensor starts = column(batch.doc_start);
  doc_start = local(starts);
  whole_doc_start = starts.to(device);
  moe.loss_scale = options.loss_scale;
  moe.replay = options.replay;
  if (options.drops_tokens) moe.protected_rows = protected_rows(batch.sample_ids, device);
}

}  // namespace orthant
