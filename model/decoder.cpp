// SPDX-License-Identifier: Apache-2.0
#include "model/decoder.h"

#include <algorithm>

#include "base/error.h"

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

Decoder::Decoder(std::vector<const Transformer*> stages, LatentForm latent)
    : stages_(std::move(stages)),
      latent_(latent),
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

// One call of run().
class DecodeRun {
 public:
  DecodeRun(const Decoder& decoder, const std::vector<DecodeRequest>& requests,
            const DecodeCallbacks& callbacks)
      : d_(decoder), callbacks_(callbacks), longest_(config().max_position_embeddings) {
    for (const DecodeRequest& request : requests) {
      ORTHANT_CHECK(!request.prompt.empty(), kInternal, "decode: a prompt has no token");
      sequences_.push_back({.tokens = request.prompt,
                            .prompt = request.prompt.size(),
                            .left = request.max_new_tokens});
    }
    const int count = d_.pipeline_.size();
    for (int g = 0; g < count; ++g) {
      const DimPart part = even_part(std::ssize(requests), g, count);
      Travellers group{.begin = static_cast<size_t>(part.begin)};
      std::vector<int64_t> capacities;
      for (int64_t i = part.begin; i < part.begin + part.size; ++i)
        capacities.push_back(capacity_of(sequences_[static_cast<size_t>(i)]));
      group.next.resize(capacities.size());
      for (const Transformer* stage : d_.stages_)
        group.caches.push_back(stage->make_cache(capacities, d_.latent_));
      groups_.push_back(std::move(group));
    }
  }

  std::vector<std::vector<int32_t>> run() {
    while (round()) {
    }
    asked_work_.wait();
    std::vector<std::vector<int32_t>> all;
    for (const Sequence& s : sequences_)
      all.emplace_back(s.tokens.begin() + static_cast<ptrdiff_t>(s.prompt), s.tokens.end());
    return all;
  }

 private:
  struct Sequence {
    std::vector<int32_t> tokens;  // the prompt, and what came
    size_t prompt = 0, fed = 0;   // tokens of the prompt; tokens that went through the model
    int64_t left = 0;             // new tokens to come at most
  };
  struct Travellers {
    size_t begin = 0;             // first sequence
    std::vector<KvCache> caches;  // by chunk
    NewTokens next;               // on their way in this round
    Tensor stream;                // from one stage to the next on this rank
  };

  const ModelConfig& config() const { return d_.stage().config(); }
  int64_t capacity_of(const Sequence& s) const {
    // The last token never goes through the model.
    return std::min(longest_, std::max<int64_t>(1, std::ssize(s.tokens) + s.left - 1));
  }

  // False when nobody has tokens left.
  bool round() {
    for (size_t chunk = 0; chunk < d_.stages_.size(); ++chunk)
      for (Travellers& group : groups_) turn(chunk, group);
    for (Work& work : sent_before_) work.wait();  // (D2)
    sent_before_ = std::move(sent_);
    sent_.clear();
    double fed = 0;
    for (const Travellers& group : groups_) fed += static_cast<double>(count_tokens(group.next));
    return d_.meets_others_ ? anybody(fed) : fed > 0;
  }

  // Whether any rank had tokens in the round before: the answer comes while the next one runs.
  bool anybody(double fed) {
    const Tensor sum = Tensor::from({1}, {{fed}}, DType::kF64);
    const Work work = d_.stage().ranks().world.all_reduce(sum);
    std::swap(asked_, sum_);
    sum_ = sum;
    asked_work_.wait();
    asked_work_ = work;
    return !asked_.defined() || asked_.as<double>()[0] > 0;
  }

  void turn(size_t chunk, Travellers& group) {
    if (chunk == 0) {
      learn(group);
      prepare(group);
    }
    const int64_t tokens = count_tokens(group.next);
    if (tokens == 0 && !d_.meets_others_) return;
    const int number = d_.stage_of_[chunk];
    const Transformer& stage = *d_.stages_[chunk];
    const Tensor x = number > 0 ? stream_into(number, tokens, group) : Tensor();
    const Tensor out = stage.decode(group.next, group.caches[chunk], x);
    if (!stage.is_last()) {
      pass_on(number, out, group);
    } else if (tokens > 0) {
      choose(group, out);
    }
  }

  // What each sequence of the group feeds the model next.
  void prepare(Travellers& group) {
    for (size_t i = 0; i < group.next.size(); ++i) {
      Sequence& s = sequences_[group.begin + i];
      group.next[i].clear();
      if (s.left == 0) continue;
      const int64_t kept = group.caches[0].sequences[i].length;
      if (kept + std::ssize(s.tokens) - static_cast<int64_t>(s.fed) >
          group.caches[0].sequences[i].capacity) {
        s.fed = s.tokens.size() - static_cast<size_t>(std::max<int64_t>(1, longest_ / 2));
        for (KvCache& cache : group.caches) cache.sequences[i].length = 0;
      }
      group.next[i].assign(s.tokens.begin() + static_cast<ptrdiff_t>(s.fed), s.tokens.end());
      s.fed = s.tokens.size();
    }
  }

  // The tokens behind what the group fed the model in the round before.
  void learn(Travellers& group) {
    if (d_.pipeline_.rank() == d_.last_rank()) return;
    const int64_t count = waiting(group);
    if (count == 0) return;
    const Tensor chosen = Tensor::empty({count}, DType::kI32);
    channel(Decoder::What::kTokens, d_.last_rank(), d_.pipeline_.rank()).recv(chosen, 0).wait();
    take(group, chosen.span<int32_t>());
  }

  static int64_t waiting(const Travellers& group) {
    return std::count_if(group.next.begin(), group.next.end(),
                         [](const auto& ids) { return !ids.empty(); });
  }

  void choose(Travellers& group, const Tensor& logits) {
    const std::vector<double> values = logits.to_doubles();
    const int64_t vocab = logits.dim(1);
    std::vector<int32_t> chosen;
    for (size_t i = 0; i < group.next.size(); ++i) {
      if (group.next[i].empty()) continue;
      const auto row = values.begin() + std::ssize(chosen) * vocab;
      const Sequence& s = sequences_[group.begin + i];
      chosen.push_back(callbacks_.choose(static_cast<int64_t>(group.begin + i),
                                         static_cast<int64_t>(s.tokens.size() - s.prompt),
                                         {row, row + vocab}));
    }
    const Tensor message = Tensor::from_i32({std::ssize(chosen)}, chosen);
    for (int rank = 0; rank < d_.pipeline_.size(); ++rank)
      if (rank != d_.last_rank())
        sent_.push_back(channel(Decoder::What::kTokens, d_.last_rank(), rank).send(message, 1));
    take(group, chosen);
  }

  void take(Travellers& group, std::span<const int32_t> chosen) {
    size_t at = 0;
    for (size_t i = 0; i < group.next.size(); ++i) {
      if (group.next[i].empty()) continue;
      Sequence& s = sequences_[group.begin + i];
      const int32_t token = chosen[at++];
      s.left = token < 0 ? 0 : s.left - 1;
      if (token < 0) continue;
      s.tokens.push_back(token);
      if (callbacks_.on_token) callbacks_.on_token(static_cast<int64_t>(group.begin + i), token);
    }
  }

  Tensor stream_into(int number, int64_t tokens, Travellers& group) {
    const int from = d_.rank_of_[static_cast<size_t>(number - 1)];
    if (from == d_.pipeline_.rank()) return std::move(group.stream);
    const Transformer& stage = d_.stage();
    const Tensor x = Tensor::empty(stage.stream_shape(decode_rows(stage.ranks(), tokens)),
                                   stage.dtype(), stage.device());
    if (x.numel() > 0) channel(Decoder::What::kStream, from, d_.pipeline_.rank()).recv(x, 0).wait();
    return x;
  }

  void pass_on(int number, const Tensor& out, Travellers& group) {
    const int to = d_.rank_of_[static_cast<size_t>(number + 1)];
    if (to == d_.pipeline_.rank()) {
      group.stream = out;
    } else if (out.numel() > 0) {
      sent_.push_back(channel(Decoder::What::kStream, d_.pipeline_.rank(), to).send(out, 1));
    }
  }

  const Group& channel(Decoder::What what, int from, int to) const {
    return d_.channels_.at({what, {from, to}});
  }

  const Decoder& d_;
  const DecodeCallbacks& callbacks_;
  const int64_t longest_;
  std::vector<Sequence> sequences_;
  std::vector<Travellers> groups_;
  std::vector<Work> sent_, sent_before_;
  Tensor sum_, asked_;
  Work asked_work_;
};

std::vector<std::vector<int32_t>> Decoder::run(const std::vector<DecodeRequest>& requests,
                                               const DecodeCallbacks& callbacks) const {
  return DecodeRun(*this, requests, callbacks).run();
}

}  // namespace orthant
