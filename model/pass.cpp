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

// Of local rows [begin, begin + count).
Tensor tokens_of(const TokenRows& rows, int64_t begin, int64_t count, int64_t first_token) {
  std::vector<int64_t> tokens;
  tokens.reserve(static_cast<size_t>(count));
  for (const TokenRows::Run& run : rows.runs(begin, begin + count))
    for (int64_t row = run.begin; row < run.end; ++row)
      tokens.push_back(first_token + run.token + row - run.begin);
  return Tensor::from_i64({count}, tokens);
}

}  // namespace

Pass::Pass(const MicroBatch& batch, const RankGroups& ranks, Device on, const PassOptions& options)
    : device(on),
      moe(make_moe_context(ranks.rows_of(batch.sequences, batch.length), batch.ids, on)),
      step(static_cast<uint64_t>(options.step)) {
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
  if (step > 0) {
    const Tensor all = tokens_of(rows(), 0, rows().num_local(), options.first_token);
    adapter_rows = {
        .step = step, .local = all.to(device), .own = rows().own_of_local(all).to(device)};
    const bool cut = TensorParallel(ranks.tensor, ranks.sequence_parallel).cuts_rows();
    stream_tokens = cut ? adapter_rows.own : adapter_rows.local;
  }
  if (options.drops_tokens) moe.protected_rows = protected_rows(batch.sample_ids, device);
}

}  // namespace orthant
