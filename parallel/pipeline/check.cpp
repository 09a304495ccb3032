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
  Checker(const Schedule& schedule, Pass pass)
      : s_(schedule), pass_(pass), next_weight_(schedule.rank_of.size()) {
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

  [[noreturn]] void fail(const std::string& wanted) const {
    throw_error(ErrorKind::kInternal, concat(place_of(s_, rank_, index_), ": want ", wanted));
  }

  void check(const Action& action) {
    const auto [act, stage, micro_batch] = action;
    if (stage < 0 || stage >= s_.stages() || micro_batch < 0 || micro_batch >= s_.micro_batches)
      fail(concat("a stage below ", s_.stages(), " and a micro-batch below ", s_.micro_batches));
    if (s_.rank(stage) != rank_)
      fail(concat("an action of this rank; the stage is rank ", s_.rank(stage), "'s"));
    if (seen(act, stage, micro_batch)) fail("it once; it is there twice");
    if (pass_ == Pass::kForward && !goes_up(act)) fail("forwards and their messages alone");
    if (is_compute(act))
      check_compute(action);
    else
      check_message(action);
    seen(act, stage, micro_batch) = 1;
  }

  void check_message(const Action& action) {
    const Value value = is_send(action.act) ? made_by(action) : needed_by(action);
    if (!is_message(s_, value)) fail("no message: its neighbour is on this rank, or there is none");
    Ends& ends = ends_[channel_of(s_, value)];
    if (is_send(action.act) && !is_made(value)) fail("its value to be made before it is sent");
    (is_send(action.act) ? ends.sent : ends.received).push_back(value);
  }

  void check_compute(const Action& action) {
    const auto [act, stage, m] = action;
    if (act != Act::kForward && !seen(Act::kForward, stage, m)) fail("its forward before it");
    if (act == Act::kBackwardWeight) {
      if (!seen(Act::kBackwardInput, stage, m)) fail("its backward_input before it");
    } else if (act != Act::kForward && is_made({Flow::kGradients, stage, m})) {
      fail("one backward");
    }
    if (makes_weight_gradient(act)) check_ascends(action);
    if (!has_value_needed(act)) return;
    const Value value = needed_by(action);
    if (!is_between(s_, value)) return;
    if (!is_message(s_, value)) {
      if (!is_made(value)) fail(concat("the ", text_of(value), " to be made before, on this rank"));
    } else if (!seen(act == Act::kForward ? Act::kRecvForward : Act::kRecvBackward, stage, m)) {
      fail(concat("the ", text_of(value), " to be received before"));
    }
  }

  void check_ascends(const Action& action) {
    int& next = next_weight_[static_cast<size_t>(action.stage)];
    if (next != action.micro_batch)
      fail(
          concat("weight gradients in ascending order; the stage's next is of micro-batch ", next));
    ++next;
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
          if (pass_ == Pass::kForward && act != Act::kForward) continue;
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
      if (pass_ == Pass::kForward && channel.flow == Flow::kGradients) continue;
      for (int stage = 0; stage < s_.stages(); ++stage) {
        const Value value{channel.flow, stage, 0};
        if (is_message(s_, value) && channel_of(s_, value) == channel)
          messages += static_cast<size_t>(s_.micro_batches);
      }
      const Ends& ends = ends_[channel];
      sent += ends.sent.size();
      for (size_t i = 0; i < std::max(ends.sent.size(), ends.received.size()); ++i) {
        const auto end = [i](const std::vector<Value>& values) {
          return i < values.size() ? text_of(values[i]) : std::string("nothing");
        };
        ORTHANT_CHECK(
            i < ends.sent.size() && i < ends.received.size() && ends.sent[i] == ends.received[i],
            kInternal, s_.name, ", ", text_of(channel), ", message ", i, ": ", end(ends.sent),
            " is sent, ", end(ends.received), " is received");
      }
    }
    ORTHANT_CHECK(sent == messages, kInternal, s_.name, ": want ", messages, " messages, got ",
                  sent);
  }

  const Schedule& s_;
  const Pass pass_;
  int rank_ = 0;
  size_t index_ = 0;
  std::array<std::vector<uint8_t>, kNumActs> seen_;
  std::vector<int> next_weight_;  // by stage
  std::map<Channel, Ends> ends_;
};

}  // namespace

void check_schedule(const Schedule& schedule, Pass pass) { Checker(schedule, pass).run(); }

}  // namespace orthant::pipeline
