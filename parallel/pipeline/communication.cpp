// SPDX-License-Identifier: Apache-2.0
#include "parallel/pipeline/communication.h"

#include <algorithm>
#include <array>
#include <map>

namespace orthant::pipeline {
namespace {

// By flow: a number for each (stage, micro-batch).
using Numbers = std::array<std::vector<size_t>, 2>;

size_t& at(const Schedule& schedule, Numbers& numbers, const Value& value) {
  return numbers[static_cast<size_t>(value.flow)][schedule.index(value.stage, value.micro_batch)];
}

// The computation of its rank that needs a value.
Numbers places_of_need(const Schedule& schedule) {
  Numbers places;
  for (auto& numbers : places) numbers.resize(schedule.num_indices());
  for (const Program& program : schedule.programs) {
    for (size_t i = 0; i < program.size(); ++i) {
      if (!has_value_needed(program[i].act)) continue;
      const Value value = needed_by(program[i]);
      if (is_between(schedule, value)) at(schedule, places, value) = i;
    }
  }
  return places;
}

struct Receive {
  size_t place;  // the computation that it is posted before
  Action action;
};

// By rank, in the order of posting.
std::vector<std::vector<Receive>> place_receives(const Schedule& schedule, int ahead) {
  Numbers places = places_of_need(schedule);
  std::map<Channel, std::vector<Value>> messages;  // as they are sent
  for (const Program& program : schedule.programs) {
    for (const Action& action : program) {
      if (has_value_made(action.act) && is_message(schedule, made_by(action)))
        messages[channel_of(schedule, made_by(action))].push_back(made_by(action));
    }
  }
  std::vector<std::vector<Receive>> receives(schedule.programs.size());
  for (const auto& [channel, values] : messages) {
    auto& mine = receives[static_cast<size_t>(channel.to)];
    const size_t begin = mine.size();
    for (const Value& value : values) {
      const size_t need = at(schedule, places, value);
      const Act act = channel.flow == Flow::kActivations ? Act::kRecvForward : Act::kRecvBackward;
      mine.push_back({need - std::min(need, static_cast<size_t>(ahead)),
                      {act, value.consumer(), value.micro_batch}});
    }
    for (size_t i = mine.size() - 1; i > begin; --i)
      mine[i - 1].place = std::min(mine[i - 1].place, mine[i].place);
  }
  for (auto& mine : receives) {
    std::stable_sort(mine.begin(), mine.end(),
                     [](const Receive& a, const Receive& b) { return a.place < b.place; });
  }
  return receives;
}

}  // namespace

Schedule insert_communication(const Schedule& schedule, int ahead) {
  Schedule result = schedule;
  const auto receives = place_receives(schedule, ahead);
  for (size_t rank = 0; rank < schedule.programs.size(); ++rank) {
    const Program& program = schedule.programs[rank];
    Program& out = result.programs[rank];
    out.clear();
    auto receive = receives[rank].begin();
    for (size_t i = 0; i < program.size(); ++i) {
      for (; receive != receives[rank].end() && receive->place == i; ++receive)
        out.push_back(receive->action);
      const Action& action = program[i];
      out.push_back(action);
      if (!has_value_made(action.act) || !is_message(schedule, made_by(action))) continue;
      out.push_back({action.act == Act::kForward ? Act::kSendForward : Act::kSendBackward,
                     action.stage, action.micro_batch});
    }
  }
  return result;
}

}  // namespace orthant::pipeline
