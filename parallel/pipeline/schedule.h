// SPDX-License-Identifier: Apache-2.0
// A pipeline schedule as data: what each rank does, in order.  Nothing here touches a tensor.
//
// The model is cut into stages 0 .. stages-1, `chunks` of them on each of `ranks` ranks.  A step's
// micro-batches go up through all stages (forward) and down again (backward).  A schedule is made
// by a generator (generators.h), gets its messages from insert_communication, is proved by
// check_schedule and simulate, and run by run_schedule (interpreter.h).
//
//   (P1) Weight gradients of a stage are made in ascending order of micro-batches, so that they are
//        added up as one rank alone would.
//   (P2) Values between stages of one rank are handed over there; all others are messages.
//   (P3) Messages of a channel are received in the order in which they are sent.
#pragma once

#include <compare>
#include <cstddef>
#include <string>
#include <vector>

namespace orthant::pipeline {

enum class Act {
  kForward,
  kBackward,        // by the input and by the weights, at once
  kBackwardInput,   // by the input alone; the work for the weights is put off
  kBackwardWeight,  // ... until here
  kSendForward,     // the output of `stage`, to the rank of stage + 1
  kRecvForward,     // the input of `stage`, from the rank of stage - 1
  kSendBackward,    // the gradient by the input of `stage`, to the rank of stage - 1
  kRecvBackward,    // the gradient by the output of `stage`, from the rank of stage + 1
};

struct Action {
  Act act = Act::kForward;
  int stage = 0, micro_batch = 0;
  bool operator==(const Action&) const = default;
};

// What one rank does, in order.
using Program = std::vector<Action>;

struct Schedule {
  std::string name;
  int ranks = 1, micro_batches = 1, chunks = 1;
  std::vector<int> rank_of;       // by stage
  std::vector<Program> programs;  // by rank

  int stages() const { return static_cast<int>(rank_of.size()); }
  int rank(int stage) const { return rank_of[static_cast<size_t>(stage)]; }
  int chunk(int stage) const { return stage / ranks; }  // 0 .. chunks-1: of its rank's stages
  // A place in a table of all (stage, micro-batch).
  size_t index(int stage, int micro_batch) const {
    return static_cast<size_t>(stage) * static_cast<size_t>(micro_batches) +
           static_cast<size_t>(micro_batch);
  }
  size_t num_indices() const { return index(stages(), 0); }
};

enum class Flow { kActivations, kGradients };

// What comes out of a stage for its neighbour: activations of (stage, micro-batch) for stage + 1,
// or gradients by the input of `stage` for stage - 1.
struct Value {
  Flow flow = Flow::kActivations;
  int stage = 0, micro_batch = 0;
  auto operator<=>(const Value&) const = default;
  int consumer() const { return flow == Flow::kActivations ? stage + 1 : stage - 1; }  // a stage
};

inline bool is_send(Act act) { return act == Act::kSendForward || act == Act::kSendBackward; }
inline bool is_recv(Act act) { return act == Act::kRecvForward || act == Act::kRecvBackward; }
inline bool goes_up(Act act) {  // from stage to stage, as forward does
  return act == Act::kForward || act == Act::kSendForward || act == Act::kRecvForward;
}
inline bool is_compute(Act act) { return !is_send(act) && !is_recv(act); }
inline bool makes_weight_gradient(Act act) {
  return act == Act::kBackward || act == Act::kBackwardWeight;
}

// The value that an action makes or sends, and the one that it needs or receives; the other end of
// the pipeline (stage -1 or stages) stands where there is no neighbour, see is_between.
Value made_by(const Action& action);
Value needed_by(const Action& action);
bool has_value_made(Act act);    // all but backward_weight and receives
bool has_value_needed(Act act);  // all but backward_weight and sends
// Whether both the stage that makes the value and the one that needs it exist.
bool is_between(const Schedule& schedule, const Value& value);
// Whether it is a message: between stages on different ranks.
bool is_message(const Schedule& schedule, const Value& value);

// Messages of one flow from one rank to another, in one order (P3).
struct Channel {
  int from = 0, to = 0;
  Flow flow = Flow::kActivations;
  auto operator<=>(const Channel&) const = default;
};
Channel channel_of(const Schedule& schedule, const Value& value);
// All that the schedule's messages use, ascending: the same on every rank.
std::vector<Channel> channels_of(const Schedule& schedule);

const char* name_of(Act act);                 // "backward_input"
std::string text_of(const Action& action);    // "forward of stage 2, micro-batch 0"
std::string text_of(const Value& value);      // "activations of stage 2, micro-batch 0"
std::string text_of(const Channel& channel);  // "activations from rank 0 to rank 1"
// "zb_h1, rank 1, action 7 (forward of stage 2, micro-batch 0)"
std::string place_of(const Schedule& schedule, int rank, size_t index);

// The most that a rank holds at a time, in program order.  The activations of a (stage,
// micro-batch) live from its forward until its weight gradient is there: what backward_input could
// release earlier is not counted off.
struct PeakLoad {
  int activations = 0;   // of one stage and micro-batch each
  int weights_late = 0;  // backward_weights put off
};
PeakLoad peak_load(const Program& program);

}  // namespace orthant::pipeline
