// SPDX-License-Identifier: Apache-2.0
#include "model/decoder.h"

#include <algorithm>

#include "base/error.h"
#include "model/decode_run.h"

namespace orthant {
namespace {

// Experts that this rank's tokens go to are held by ranks that work on other sequences.
bool shares_experts_with_others(const RankGroups& ranks) {
  return ranks.micro_batch.size() % ranks.experts.size() != 0;
}

// By stage of the model: who holds it, out of everybody's own first layers.
std::vector<int> ranks_of_stages(const Group& pipeline,
                                 const std::vector<const Transformer*>& stages) {
  const auto most = static_cast<size_t>(pipeline.max(std::ssize(stages)));
  std::vector<double> mine(most, -1.0);
  for (size_t i = 0; i < stages.size(); ++i)
    mine[i] = static_cast<double>(stages[i]->layers().begin);
  const Tensor own = Tensor::from({std::ssize(mine)}, mine, DType::kF64);
  const Tensor all = Tensor::empty({own.numel() * pipeline.size()}, DType::kF64);
  pipeline.all_gather(own, all).wait();
  std::map<double, int> by_layer;
  for (int64_t i = 0; i < all.numel(); ++i)
    if (all.as<double>()[i] >= 0) by_layer[all.as<double>()[i]] = static_cast<int>(i / own.numel());
  std::vector<int> ranks;
  for (const auto& [layer, rank] : by_layer) ranks.push_back(rank);
  return ranks;
}

}  // namespace

Decoder::Decoder(std::vector<const Transformer*> stages, const DecoderOptions& options)
    : stages_(std::move(stages)),
      options_(options),
      pipeline_(stages_.front()->ranks().pipeline),
      rank_of_(ranks_of_stages(pipeline_, stages_)),
      meets_others_(shares_experts_with_others(stages_.front()->ranks())) {
  for (int s = 0; s < num_stages(); ++s)
    if (rank_of_[static_cast<size_t>(s)] == pipeline_.rank()) stage_of_.push_back(s);
  std::vector<Channel> channels;
  for (int s = 0; s + 1 < num_stages(); ++s)
    channels.push_back(
        {What::kStream, {rank_of_[static_cast<size_t>(s)], rank_of_[static_cast<size_t>(s + 1)]}});
  for (int r = 0; r < pipeline_.size(); ++r) channels.push_back({What::kTokens, {last_rank(), r}});
  std::sort(channels.begin(), channels.end());
  channels.erase(std::unique(channels.begin(), channels.end()), channels.end());
  for (const Channel& channel : channels) {
    const auto [from, to] = channel.second;
    if (from == to) continue;
    const bool member = pipeline_.rank() == from || pipeline_.rank() == to;
    const Group pair = pipeline_.split(member ? 0 : -1, pipeline_.rank() == to,
                                       concat("decode ", from, " -> ", to));
    if (member) channels_.emplace(channel, pair);
  }
}

std::vector<std::vector<int32_t>> Decoder::run(const std::vector<DecodeRequest>& requests,
                                               const DecodeCallbacks& callbacks) const {
  return DecodeRun(*this, requests, callbacks).run();
}

}  // namespace orthant
