// SPDX-License-Identifier: Apache-2.0
#include "parallel/pipeline/simulator.h"

#include <algorithm>
#include <array>
#include <limits>

#include "base/error.h"

namespace orthant::pipeline {
namespace {

constexpr double kNever = std::numeric_limits<double>::infinity();

// One end of a message: an action of a rank.
struct Post {
  Value value;
  int rank;
  size_t index;
};

struct Line {
  std::vector<Post> sends, receives;
  size_t arrived = 0;  // messages
  double free = 0;     // when the last one had arrived
};

class Simulator {
 public:
  Simulator(const Schedule& schedule, const Costs& costs)
      : s_(schedule),
        costs_(costs),
        next_(schedule.programs.size()),
        clock_(schedule.programs.size()),
        lines_(2 * schedule.programs.size() * schedule.programs.size()) {
    ORTHANT_CHECK(costs.by_stage.empty() || costs.by_stage.size() == s_.rank_of.size(), kInternal,
                  "simulate: want costs of ", s_.stages(), " stages, got ", costs.by_stage.size());
    for (auto& times : there_) times.assign(s_.num_indices(), kNever);
    for (auto& ranks : waiting_) ranks.assign(s_.num_indices(), -1);
    for (const Program& program : s_.programs) {
      auto& spans = result_.timeline.ranks.emplace_back();
      spans.reserve(program.size());
    }
  }

  Simulation run() {
    for (int rank = static_cast<int>(next_.size()) - 1; rank >= 0; --rank) ready_.push_back(rank);
    while (!ready_.empty()) {
      const int rank = ready_.back();
      ready_.pop_back();
      advance(rank);
    }
    result_.deadlock = describe_deadlock();
    return std::move(result_);
  }

 private:
  // When this rank has the value that its stage needs; waiting_ says who waits for it.
  double& there(const Value& value) {
    return there_[static_cast<size_t>(value.flow)][s_.index(value.stage, value.micro_batch)];
  }
  int& waiting(const Value& value) {
    return waiting_[static_cast<size_t>(value.flow)][s_.index(value.stage, value.micro_batch)];
  }
  Line& line(const Channel& channel) {
    const size_t pair =
        static_cast<size_t>(channel.from) * s_.programs.size() + static_cast<size_t>(channel.to);
    return lines_[2 * pair + static_cast<size_t>(channel.flow)];
  }
  std::vector<Span>& spans(int rank) { return result_.timeline.ranks[static_cast<size_t>(rank)]; }

  // As far as the rank comes.
  void advance(int rank) {
    const Program& program = s_.programs[static_cast<size_t>(rank)];
    size_t& next = next_[static_cast<size_t>(rank)];
    for (; next < program.size(); ++next) {
      const Action& action = program[next];
      if (is_compute(action.act)) {
        if (!compute(rank, action)) return;
      } else {
        post(rank, next, action);
      }
    }
  }

  bool compute(int rank, const Action& action) {
    double& clock = clock_[static_cast<size_t>(rank)];
    if (has_value_needed(action.act) && is_between(s_, needed_by(action))) {
      const Value value = needed_by(action);
      if (there(value) == kNever) {
        waiting(value) = rank;
        return false;
      }
      clock = std::max(clock, there(value));
    }
    const double start = clock;
    clock += cost_of(action);
    spans(rank).push_back({action, start, clock});
    if (!has_value_made(action.act)) return true;
    const Value made = made_by(action);
    if (is_between(s_, made) && !is_message(s_, made)) there(made) = clock;
    return true;
  }

  double cost_of(const Action& action) const {
    const StageCost& cost = costs_.of(action.stage);
    switch (action.act) {
      case Act::kForward:
        return cost.forward;
      case Act::kBackward:
        return cost.backward.value_or(cost.backward_input + cost.backward_weight);
      case Act::kBackwardInput:
        return cost.backward_input;
      default:
        return cost.backward_weight;
    }
  }

  void post(int rank, size_t index, const Action& action) {
    const double now = clock_[static_cast<size_t>(rank)];
    spans(rank).push_back({action, now, kNever});
    const Value value = is_send(action.act) ? made_by(action) : needed_by(action);
    Line& line = this->line(channel_of(s_, value));
    (is_send(action.act) ? line.sends : line.receives).push_back({value, rank, index});
    while (line.arrived < std::min(line.sends.size(), line.receives.size()) &&
           line.sends[line.arrived].value == line.receives[line.arrived].value)
      deliver(line);
  }

  void deliver(Line& line) {
    const Post& from = line.sends[line.arrived];
    const Post& to = line.receives[line.arrived];
    Span& sent = spans(from.rank)[from.index];
    Span& received = spans(to.rank)[to.index];
    line.free = std::max({line.free, sent.start, received.start}) + costs_.transfer;
    ++line.arrived;
    sent.end = received.end = there(from.value) = line.free;
    if (waiting(from.value) >= 0) ready_.push_back(waiting(from.value));
    waiting(from.value) = -1;
  }

  std::string describe_deadlock() const {
    std::string text;
    for (size_t rank = 0; rank < next_.size(); ++rank) {
      if (next_[rank] == s_.programs[rank].size()) continue;
      const Value value = needed_by(s_.programs[rank][next_[rank]]);
      text += concat(place_of(s_, static_cast<int>(rank), next_[rank]), " waits for the ",
                     text_of(value), " from rank ", s_.rank(value.stage), "\n");
    }
    for (const Line& line : lines_) {
      if (line.arrived < line.sends.size()) text += describe(line, line.sends, line.receives);
      if (line.arrived < line.receives.size() && line.arrived >= line.sends.size())
        text += describe(line, line.receives, line.sends);
    }
    return text;
  }

  // `mine` has a message that has not arrived.
  std::string describe(const Line& line, const std::vector<Post>& mine,
                       const std::vector<Post>& others) const {
    const Post& post = mine[line.arrived];
    const bool met = line.arrived < others.size();
    return concat(place_of(s_, post.rank, post.index), met ? " meets " : " finds no other end",
                  met ? place_of(s_, others[line.arrived].rank, others[line.arrived].index) : "",
                  "\n");
  }

  const Schedule& s_;
  const Costs& costs_;
  std::vector<size_t> next_;   // by rank: its next action
  std::vector<double> clock_;  // by rank
  std::array<std::vector<double>, 2> there_;
  std::array<std::vector<int>, 2> waiting_;
  std::vector<Line> lines_;
  std::vector<int> ready_;
  Simulation result_;
};

}  // namespace

Simulation simulate(const Schedule& schedule, const Costs& costs) {
  return Simulator(schedule, costs).run();
}

}  // namespace orthant::pipeline
