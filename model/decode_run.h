// SPDX-License-Identifier: Apache-2.0
// One run of a decoder over a list of requests (model/decoder.h has its rules).
#pragma once

#include <map>
#include <optional>
#include <span>

#include "model/decoder.h"

namespace orthant {

class DecodeRun {
 public:
  DecodeRun(const Decoder& decoder, const std::vector<DecodeRequest>& requests,
            const DecodeCallbacks& callbacks);
  std::vector<std::vector<int32_t>> run();

 private:
  struct Sequence {
    std::vector<int32_t> tokens;  // the prompt, and what came
    size_t prompt = 0, fed = 0;   // tokens of the prompt; tokens that went through the model
    size_t given = 0;             // tokens that were there when it began, or began again
    int64_t left = 0;             // new tokens to come at most
    size_t kind = 0;              // requests with the same prompt and adapter have the same
    int64_t adapter = -1;
    bool is_prompt_in() const { return fed >= prompt; }
  };
  // Of the requests of a kind: how many wait, and what the model made of it, by chunk.
  struct Prompt {
    int64_t waiting = 0;
    bool is_being_read = false;
    std::vector<KvCache::Kept> kept;
  };
  struct Travellers {
    std::vector<std::optional<size_t>> sequences;  // by place
    std::vector<KvCache> caches;                   // by chunk
    NextTokens next;                               // on their way in this round
    Tensor stream;                                 // from one stage to the next on this rank
  };

  const ModelConfig& config() const { return d_.stage().config(); }
  // False when nobody has tokens left.
  bool round();
  bool anybody(double fed);
  void tell_difference() const;
  void turn(size_t chunk, Travellers& group);

  // Which requests have a place: before a group's tokens enter its first stage.
  void keep_prompts(Travellers& group);
  void release(Travellers& group);
  void admit(Travellers& group);
  bool begin(size_t sequence, size_t place, Travellers& group);
  void feed(Travellers& group);
  void start_again_where_full(Sequence& sequence, size_t place, Travellers& group);

  // What the last stage chose.
  void learn(Travellers& group);
  void choose(Travellers& group, const Tensor& logits);
  void take(Travellers& group, std::span<const int32_t> chosen);
  static int64_t num_choosing(const Travellers& group);

  Tensor stream_into(int number, int64_t tokens, Travellers& group);
  void pass_on(int number, const Tensor& out, Travellers& group);
  const Group& channel(Decoder::What what, int from, int to) const {
    return d_.channels_.at({what, {from, to}});
  }

  const Decoder& d_;
  const DecodeCallbacks& callbacks_;
  const int64_t longest_;
  std::vector<Sequence> sequences_;  // by request
  std::vector<Prompt> prompts_;      // by kind
  std::vector<size_t> waiting_;      // sequences without a place yet, in order
  std::vector<Travellers> groups_;
  bool has_told_of_length_ = false;
  std::vector<Work> sent_, sent_before_;
  Tensor sum_, asked_;
  Work asked_work_;
};

}  // namespace orthant
