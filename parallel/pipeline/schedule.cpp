// SPDX-License-Identifier: Apache-2.0
#include "parallel/pipeline/schedule.h"

#include <algorithm>
#include <set>

#include "base/error.h"

namespace orthant::pipeline {
namespace {

const char* name_of(Flow flow) { return flow == Flow::kActivations ? "activations" : "gradients"; }

}  // namespace

const char* name_of(Act act) {
  switch (act) {
    case Act::kForward:
      return "forward";
    case Act::kBackward:
      return "backward";
    case Act::kBackwardInput:
      return "backward_input";
    case Act::kBackwardWeight:
      return "backward_weight";
    case Act::kSendForward:
      return "send_forward";
    case Act::kRecvForward:
      return "recv_forward";
    case Act::kSendBackward:
      return "send_backward";
    case Act::kRecvBackward:
      return "recv_backward";
  }
  return "?";
}

bool has_value_made(Act act) { return act != Act::kBackwardWeight && !is_recv(act); }
bool has_value_needed(Act act) { return act != Act::kBackwardWeight && !is_send(act); }

Value made_by(const Action& action) {
  return {goes_up(action.act) ? Flow::kActivations : Flow::kGradients, action.stage,
          action.micro_batch};
}

Value needed_by(const Action& action) {
  if (goes_up(action.act)) return {Flow::kActivations, action.stage - 1, action.micro_batch};
  return {Flow::kGradients, action.stage + 1, action.micro_batch};
}

bool is_between(const Schedule& schedule, const Value& value) {
  return std::min(value.stage, value.consumer()) >= 0 &&
         std::max(value.stage, value.consumer()) < schedule.stages();
}

bool is_message(const Schedule& schedule, const Value& value) {
  return is_between(schedule, value) &&
         schedule.rank(value.stage) != schedule.rank(value.consumer());
}

Channel channel_of(const Schedule& schedule, const Value& value) {
  return {schedule.rank(value.stage), schedule.rank(value.consumer()), value.flow};
}

std::vector<Channel> channels_of(const Schedule& schedule) {
  std::set<Channel> channels;
  for (int stage = 0; stage < schedule.stages(); ++stage) {
    for (const Flow flow : {Flow::kActivations, Flow::kGradients}) {
      const Value value{flow, stage, 0};
      if (is_message(schedule, value)) channels.insert(channel_of(schedule, value));
    }
  }
  return {channels.begin(), channels.end()};
}

std::string text_of(const Action& action) {
  return concat(name_of(action.act), " of stage ", action.stage, ", micro-batch ",
                action.micro_batch);
}

std::string text_of(const Value& value) {
  return concat(name_of(value.flow), " of stage ", value.stage, ", micro-batch ",
                value.micro_batch);
}

std::string text_of(const Channel& channel) {
  return concat(name_of(channel.flow), " from rank ", channel.from, " to rank ", channel.to);
}

std::string place_of(const Schedule& schedule, int rank, size_t index) {
  return concat(schedule.name, ", pipeline rank ", rank, ", action ", index, " (",
                text_of(schedule.programs[static_cast<size_t>(rank)][index]), ")");
}

PeakLoad peak_load(const Program& program) {
  PeakLoad now, peak;
  for (const Action& action : program) {
    now.activations += action.act == Act::kForward;
    now.weights_late += action.act == Act::kBackwardInput;
    peak.activations = std::max(peak.activations, now.activations);
    peak.weights_late = std::max(peak.weights_late, now.weights_late);
    now.activations -= makes_weight_gradient(action.act);
    now.weights_late -= action.act == Act::kBackwardWeight;
  }
  return peak;
}

}  // namespace orthant::pipeline
