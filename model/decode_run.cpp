// SPDX-License-Identifier: Apache-2.0
#include "model/decode_run.h"

#include <algorithm>

#include "base/error.h"
#include "base/log.h"

namespace orthant {

DecodeRun::DecodeRun(const Decoder& decoder, const std::vector<DecodeRequest>& requests,
                     const DecodeCallbacks& callbacks)
    : d_(decoder), callbacks_(callbacks), longest_(config().max_position_embeddings) {
  std::map<std::pair<std::vector<int32_t>, int64_t>, size_t> kinds;
  for (const DecodeRequest& request : requests) {
    ORTHANT_CHECK(!request.prompt.empty(), kInternal, "decode: a prompt has no token");
    const size_t kind =
        kinds.try_emplace({request.prompt, request.adapter}, kinds.size()).first->second;
    prompts_.resize(kinds.size());
    sequences_.push_back({.tokens = request.prompt,
                          .prompt = request.prompt.size(),
                          .given = request.prompt.size(),
                          .left = request.max_new_tokens,
                          .kind = kind,
                          .adapter = request.adapter});
    if (request.max_new_tokens <= 0) continue;
    waiting_.push_back(sequences_.size() - 1);
    ++prompts_[kind].waiting;
  }
  const int count = d_.pipeline_.size();
  const int64_t at_once = std::min(std::ssize(waiting_), d_.options_.max_sequences);
  const auto places = static_cast<size_t>((at_once + count - 1) / count);
  for (int g = 0; g < count; ++g) {
    Travellers group;
    group.sequences.resize(places);
    group.next.resize(places);
    for (const Transformer* stage : d_.stages_)
      group.caches.push_back(stage->make_cache(places, d_.options_.latent));
    groups_.push_back(std::move(group));
  }
}

std::vector<std::vector<int32_t>> DecodeRun::run() {
  while (round()) {
  }
  asked_work_.wait();
  if (d_.options_.latent == LatentForm::kCompared) tell_difference();
  std::vector<std::vector<int32_t>> all;
  for (const Sequence& s : sequences_)
    all.emplace_back(s.tokens.begin() + static_cast<ptrdiff_t>(s.prompt), s.tokens.end());
  return all;
}

void DecodeRun::tell_difference() const {
  double largest = 0;
  for (const Travellers& group : groups_)
    for (const KvCache& cache : group.caches) largest = std::max(largest, cache.difference());
  for (const std::string& of_rank : d_.stage().ranks().model.gather_text(concat(largest)))
    largest = std::max(largest, std::stod(of_rank));
  if (d_.stage().ranks().world.rank() == 0)
    log::info("latent attention: the absorbed form is at most ", largest,
              " of an output's largest entry from the naive one");
}

bool DecodeRun::round() {
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
bool DecodeRun::anybody(double fed) {
  const Tensor sum = Tensor::from({1}, {{fed}}, DType::kF64);
  const Work work = d_.stage().ranks().world.all_reduce(sum);
  std::swap(asked_, sum_);
  sum_ = sum;
  asked_work_.wait();
  asked_work_ = work;
  return !asked_.defined() || asked_.as<double>()[0] > 0;
}

void DecodeRun::turn(size_t chunk, Travellers& group) {
  if (chunk == 0) {
    learn(group);
    keep_prompts(group);
    release(group);
    admit(group);
    feed(group);
  }
  const int64_t tokens = count_tokens(group.next);
  if (tokens == 0 && !d_.meets_others_) return;
  const int number = d_.stage_of_[chunk];
  const Transformer& stage = *d_.stages_[chunk];
  const Tensor x = number > 0 ? stream_into(number, tokens, group) : Tensor();
  const Tensor out = stage.decode(group.next, group.caches[chunk], x);
  if (!stage.is_last()) {
    pass_on(number, out, group);
  } else if (num_choosing(group) > 0) {
    choose(group, out);
  }
}

void DecodeRun::keep_prompts(Travellers& group) {
  for (size_t place = 0; place < group.sequences.size(); ++place) {
    if (!group.sequences[place]) continue;
    const Sequence& s = sequences_[*group.sequences[place]];
    Prompt& prompt = prompts_[s.kind];
    if (!prompt.is_being_read || !s.is_prompt_in()) continue;
    prompt.is_being_read = false;
    if (prompt.waiting == 0) continue;
    for (const KvCache& cache : group.caches) prompt.kept.push_back(cache.keep(place));
  }
}

void DecodeRun::release(Travellers& group) {
  for (size_t place = 0; place < group.sequences.size(); ++place) {
    if (!group.sequences[place] || sequences_[*group.sequences[place]].left > 0) continue;
    group.sequences[place].reset();
    for (KvCache& cache : group.caches) cache.clear(place);
  }
}

// In the order of the requests; one whose prompt is just being read waits for that.
void DecodeRun::admit(Travellers& group) {
  std::vector<size_t> free;
  for (size_t place = group.sequences.size(); place-- > 0;)
    if (!group.sequences[place]) free.push_back(place);
  std::vector<size_t> still;
  for (const size_t sequence : waiting_) {
    if (!free.empty() && begin(sequence, free.back(), group)) {
      free.pop_back();
    } else {
      still.push_back(sequence);
    }
  }
  waiting_ = std::move(still);
}

bool DecodeRun::begin(size_t sequence, size_t place, Travellers& group) {
  Sequence& s = sequences_[sequence];
  Prompt& prompt = prompts_[s.kind];
  if (prompt.is_being_read) return false;
  if (prompt.kept.empty()) {
    prompt.is_being_read = true;
  } else {
    for (size_t chunk = 0; chunk < group.caches.size(); ++chunk)
      group.caches[chunk].put(place, prompt.kept[chunk], prompt.kept[chunk].length - 1);
    s.fed = s.prompt - 1;
  }
  if (--prompt.waiting == 0) prompt.kept.clear();
  group.sequences[place] = sequence;
  return true;
}

void DecodeRun::feed(Travellers& group) {
  int64_t room = d_.options_.max_prompt_rows;
  for (size_t place = 0; place < group.sequences.size(); ++place) {
    NewTokens& next = group.next[place] = {};
    if (!group.sequences[place]) continue;
    Sequence& s = sequences_[*group.sequences[place]];
    start_again_where_full(s, place, group);
    next.adapter = s.adapter;
    next.of_prompt = s.fed < s.given;
    const int64_t unfed = std::ssize(s.tokens) - static_cast<int64_t>(s.fed);
    const int64_t count = unfed > 1 ? std::min(unfed, room) : unfed;
    if (unfed > 1) room -= count;
    const auto from = s.tokens.begin() + static_cast<ptrdiff_t>(s.fed);
    next.ids.assign(from, from + count);
    next.wants_logits = count == unfed;
    s.fed += static_cast<size_t>(count);
  }
}

void DecodeRun::start_again_where_full(Sequence& s, size_t place, Travellers& group) {
  const int64_t unfed = std::ssize(s.tokens) - static_cast<int64_t>(s.fed);
  if (group.caches[0].length(place) + unfed <= longest_) return;
  if (!has_told_of_length_ && d_.stage().ranks().world.rank() == 0)
    log::info("a text is longer than the model's longest sequence, ", longest_,
              " tokens (model.max_position_embeddings): it goes on from its last half");
  has_told_of_length_ = true;
  s.fed = s.tokens.size() - static_cast<size_t>(std::max<int64_t>(1, longest_ / 2));
  s.given = s.tokens.size();
  for (KvCache& cache : group.caches) cache.clear(place);
}

// The tokens behind what the group fed the model in the round before.
void DecodeRun::learn(Travellers& group) {
  if (d_.pipeline_.rank() == d_.last_rank()) return;
  const int64_t count = num_choosing(group);
  if (count == 0) return;
  const Tensor chosen = Tensor::empty({count}, DType::kI32);
  channel(Decoder::What::kTokens, d_.last_rank(), d_.pipeline_.rank()).recv(chosen, 0).wait();
  take(group, chosen.span<int32_t>());
}

int64_t DecodeRun::num_choosing(const Travellers& group) {
  return std::count_if(group.next.begin(), group.next.end(),
                       [](const NewTokens& next) { return next.size() > 0 && next.wants_logits; });
}

void DecodeRun::choose(Travellers& group, const Tensor& logits) {
  const std::vector<double> values = logits.to_doubles();
  const int64_t vocab = logits.dim(1);
  std::vector<int32_t> chosen;
  for (size_t place = 0; place < group.next.size(); ++place) {
    if (group.next[place].size() == 0 || !group.next[place].wants_logits) continue;
    const auto row = values.begin() + std::ssize(chosen) * vocab;
    const size_t request = *group.sequences[place];
    const Sequence& s = sequences_[request];
    chosen.push_back(callbacks_.choose(static_cast<int64_t>(request),
                                       static_cast<int64_t>(s.tokens.size() - s.prompt),
                                       {row, row + vocab}));
  }
  const Tensor message = Tensor::from_i32({std::ssize(chosen)}, chosen);
  for (int rank = 0; rank < d_.pipeline_.size(); ++rank)
    if (rank != d_.last_rank())
      sent_.push_back(channel(Decoder::What::kTokens, d_.last_rank(), rank).send(message, 1));
  take(group, chosen);
}

void DecodeRun::take(Travellers& group, std::span<const int32_t> chosen) {
  size_t at = 0;
  for (size_t place = 0; place < group.next.size(); ++place) {
    if (group.next[place].size() == 0 || !group.next[place].wants_logits) continue;
    const size_t request = *group.sequences[place];
    Sequence& s = sequences_[request];
    const int32_t token = chosen[at++];
    s.left = token < 0 ? 0 : s.left - 1;
    if (token < 0) continue;
    s.tokens.push_back(token);
    if (callbacks_.on_token && !callbacks_.on_token(static_cast<int64_t>(request), token))
      s.left = 0;
  }
}

Tensor DecodeRun::stream_into(int number, int64_t tokens, Travellers& group) {
  const int from = d_.rank_of_[static_cast<size_t>(number - 1)];
  if (from == d_.pipeline_.rank()) return std::move(group.stream);
  const Transformer& stage = d_.stage();
  const Tensor x = Tensor::empty(stage.stream_shape(decode_rows(stage.ranks(), tokens)),
                                 stage.dtype(), stage.device());
  if (x.numel() > 0) channel(Decoder::What::kStream, from, d_.pipeline_.rank()).recv(x, 0).wait();
  return x;
}

void DecodeRun::pass_on(int number, const Tensor& out, Travellers& group) {
  const int to = d_.rank_of_[static_cast<size_t>(number + 1)];
  if (to == d_.pipeline_.rank()) {
    group.stream = out;
  } else if (out.numel() > 0) {
    sent_.push_back(channel(Decoder::What::kStream, d_.pipeline_.rank(), to).send(out, 1));
  }
}

}  // namespace orthant
