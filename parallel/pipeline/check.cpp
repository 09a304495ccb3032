// SPDX-License-Identifier: Apache-2.0
#include "parallel/pipeline/check.h"

#include <algorithm>
#include <array>
#include <cstdint>
#include <map>

#include "base/error.h"

namespace orthant::pipeline {
namespace {

constexpr size_t kNumActs = 8;

class Checker {
 public:
  explicit Checker(const Schedule& schedule) : s_(schedule), next_weight_(schedule.rank_of.size()) {
    for (auto& seen : seen_) seen.resize(s_.num_indices());
  }

  void run() {
    for (rank_ = 0; rank_ < static_cast<int>(s_.programs.size()); ++rank_) {
      const Program& program = s_.programs[static_cast<size_t>(rank_)];
      for (index_ = 0; index_ < program.size(); ++index_) check(program[index_]);
    }
    check_complete();
    check_channels();
  }

 private:
  struct Ends {
    std::vector<Value> sent, received;
  };

  uint8_t& seen(Act act, int stage, int micro_batch) {
    return seen_[static_cast<size_t>(act)][s_.index(stage, micro_batch)];
  }

  // `what` is wanted of the action at hand.
  void want(bool good, const std::string& what) const {
    ORTHANT_CHECK(good, kInternal, place_of(s_, rank_, index_), ": want ", what);
  }

  void check(const Action& action) {
    const auto [act, stage, micro_batch] = action;
    want(stage >= 0 && stage < s_.stages() && micro_batch >= 0 && micro_batch < s_.micro_batches,
         concat("a stage below ", s_.stages(), " and a micro-batch below ", s_.micro_batches));
    want(s_.rank(stage) == rank_,
         concat("an action of this rank; the stage is rank ", s_.rank(stage), "'s"));
    want(!seen(act, stage, micro_batch), "it once; it is there twice");
    if (is_send(act))
      check_send(action);
    else if (is_recv(act))
      check_receive(action);
    else
      check_compute(action);
    seen(act, stage, micro_batch) = 1;
  }

  void check_send(const Action& action) {
    const Value value = made_by(action);
    want(is_message(s_, value), "no message: its neighbour is on this rank, or there is none");
    want(is_made(value), "its value to be made before it is sent");
    ends_[channel_of(s_, value)].sent.push_back(value);
  }

  void check_receive(const Action& action) {
    const Value value = needed_by(action);
    want(is_message(s_, value), "no message: its neighbour is on this rank, or there is none");
    ends_[channel_of(s_, value)].received.push_back(value);
  }

  void check_compute(const Action& action) {
    const auto [act, stage, m] = action;
    if (act != Act::kForward) want(seen(Act::kForward, stage, m), "its forward before it");
    if (act == Act::kBackward || act == Act::kBackwardInput)
      want(!seen(Act::kBackward, stage, m) && !seen(Act::kBackwardInput, stage, m), "one backward");
    if (act == Act::kBackwardWeight)
      want(seen(Act::kBackwardInput, stage, m), "its backward_input before it");
    if (makes_weight_gradient(act)) {
      int& next = next_weight_[static_cast<size_t>(stage)];
      want(
          next == m,
          concat("weight gradients in ascending order; the stage's next is of micro-batch ", next));
      ++next;
    }
    if (!has_value_needed(act)) return;
    const Value value = needed_by(action);
    if (!is_between(s_, value)) return;
    if (is_message(s_, value))
      want(seen(act == Act::kForward ? Act::kRecvForward : Act::kRecvBackward, stage, m),
           concat("the ", text_of(value), " to be received before"));
    else
      want(is_made(value), concat("the ", text_of(value), " to be made before, on this rank"));
  }

  bool is_made(const Value& value) {
    if (value.flow == Flow::kActivations)
      return seen(Act::kForward, value.stage, value.micro_batch);
    return seen(Act::kBackward, value.stage, value.micro_batch) ||
           seen(Act::kBackwardInput, value.stage, value.micro_batch);
  }

  // With what check_compute has proved, all is there when all weight gradients are.
  void check_complete() {
    for (int stage = 0; stage < s_.stages(); ++stage) {
      for (int m = 0; m < s_.micro_batches; ++m) {
        for (const Act act : {Act::kForward, Act::kBackwardWeight}) {
          const bool there = seen(act, stage, m) ||
                             (act == Act::kBackwardWeight && seen(Act::kBackward, stage, m));
          ORTHANT_CHECK(there, kInternal, s_.name, ", rank ", s_.rank(stage), ": no ",
                        text_of(Action{act, stage, m}));
        }
      }
    }
  }

  void check_channels() {
    size_t messages = 0, sent = 0;
    for (const Channel& channel : channels_of(s_)) {
      for (int stage = 0; stage < s_.stages(); ++stage) {
        const Value value{channel.flow, stage, 0};
        if (is_message(s_, value) && channel_of(s_, value) == channel)
          messages += static_cast<size_t>(s_.micro_batches);
      }
      const Ends& ends = ends_[channel];
      sent += ends.sent.size();
      for (size_t i = 0; i < std::max(ends.sent.size(), ends.received.size()); ++i) {
        const std::string where = concat(s_.name, ", ", text_of(channel), ", message ", i);
        ORTHANT_CHECK(i < ends.sent.size(), kInternal, where, ": ", text_of(ends.received[i]),
                      " is received and not sent");
        ORTHANT_CHECK(i < ends.received.size(), kInternal, where, ": ", text_of(ends.sent[i]),
                      " is sent and not received");
        ORTHANT_CHECK(ends.sent[i] == ends.received[i], kInternal, where, ": ",
                      text_of(ends.sent[i]), " is sent, ", text_of(ends.received[i]),
                      " is received");
      }
    }
    ORTHANT_CHECK(sent == messages, kInternal, s_.name, ": want ", messages, " messages, got ",
                  sent);
  }

  const Schedule& s_;
  int rank_ = 0;
  size_t index_ = 0;
  std::array<std::vector<uint8_t>, kNumActs> seen_;
  std::vector<int> next_weight_;  // by stage
  std::map<Channel, Ends> ends_;
};

}  // namespace

void check_schedule(const Schedule& schedule) { Checker(schedule).run(); }

}  // namespace orthant::pipeline
