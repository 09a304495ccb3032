// SPDX-License-Identifier: Apache-2.0
#include "parallel/pipeline/interpreter.h"

#include <algorithm>

#include "base/clock.h"
#include "base/error.h"

namespace orthant::pipeline {
namespace {

class Interpreter {
 public:
  Interpreter(const Schedule& schedule, const PipelineGroups& groups, const StageFunctions& stages)
      : s_(schedule), groups_(groups), stages_(stages), begin_(now_seconds()) {}

  std::vector<Span> run() {
    const Program& program = s_.programs[static_cast<size_t>(groups_.pipeline.rank())];
    spans_.reserve(program.size());
    for (size_t i = 0; i < program.size(); ++i) {
      naming(i, [&] {
        perform(program[i]);
        poll();
      });
    }
    for (Transfer& transfer : transfers_) {
      naming(transfer.index, [&] { transfer.work.wait(); });
      spans_[transfer.index].end = seconds();
    }
    return std::move(spans_);
  }

 private:
  struct Transfer {
    Work work;
    size_t index;  // of its action, and so of its span
  };
  struct Arrival {
    Tensor value;
    Work work;  // done for what was made on this rank
  };

  // Errors say which action they came from.
  void naming(size_t index, const std::function<void()>& body) const {
    try {
      body();
    } catch (const Error& error) {
      throw_error(error.kind(),
                  concat(place_of(s_, groups_.pipeline.rank(), index), ": ", error.what()));
    }
  }

  double seconds() const { return now_seconds() - begin_; }
  const Group& group_of(const Value& value) const {
    return groups_.channels.at(channel_of(s_, value));
  }

  void perform(const Action& action) {
    if (is_send(action.act)) {
      const Value value = made_by(action);
      start_transfer(action, group_of(value).send(take(departures_, value), 1, Site::current(),
                                                  text_of(value)));
    } else if (is_recv(action.act)) {
      const Value value = needed_by(action);
      // A gradient has the shape of the input of the stage that it comes from.
      const int like = std::max(value.stage, value.consumer());
      const Tensor buffer = stages_.input_like(like, action.micro_batch);
      const Work work = group_of(value).recv(buffer, 0, Site::current(), text_of(value));
      arrivals_[value] = {buffer, work};
      start_transfer(action, work);
    } else {
      compute(action);
    }
  }

  void compute(const Action& action) {
    Tensor input;
    if (has_value_needed(action.act) && is_between(s_, needed_by(action))) {
      Arrival arrival = take(arrivals_, needed_by(action));
      arrival.work.wait();
      input = arrival.value;
    }
    const double start = seconds();
    const Tensor made = call(action, input);
    spans_.push_back({action, start, seconds()});
    if (!has_value_made(action.act)) return;
    const Value value = made_by(action);
    if (is_message(s_, value))
      departures_[value] = made;
    else if (is_between(s_, value))
      arrivals_[value] = {made, Work()};
  }

  Tensor call(const Action& action, const Tensor& input) {
    const auto [act, stage, micro_batch] = action;
    const std::pair key(stage, micro_batch);
    if (act == Act::kForward) return stages_.forward(stage, micro_batch, input);
    if (act == Act::kBackward) return stages_.backward(stage, micro_batch, input, nullptr);
    if (act == Act::kBackwardInput)
      return stages_.backward(stage, micro_batch, input, &late_weights_[key]);
    take(late_weights_, key).run();
    return {};
  }

  template <class Map>
  typename Map::mapped_type take(Map& map, const typename Map::key_type& key) {
    auto node = map.extract(key);
    ORTHANT_CHECK(!node.empty(), kInternal, "not there; was the schedule checked?");
    return std::move(node.mapped());
  }

  void start_transfer(const Action& action, const Work& work) {
    transfers_.push_back({work, spans_.size()});
    spans_.push_back({action, seconds(), 0});
  }

  // Moves what is under way; a send's tensor is freed when it is done.
  void poll() {
    std::erase_if(transfers_, [&](Transfer& transfer) {
      const bool done = transfer.work.test();
      if (done) spans_[transfer.index].end = seconds();
      return done;
    });
  }

  const Schedule& s_;
  const PipelineGroups& groups_;
  const StageFunctions& stages_;
  const double begin_;
  std::vector<Span> spans_;
  std::vector<Transfer> transfers_;
  std::map<Value, Arrival> arrivals_;                            // needed on this rank
  std::map<Value, Tensor> departures_;                           // to be sent
  std::map<std::pair<int, int>, WeightGradQueue> late_weights_;  // by stage and micro-batch
};

}  // namespace

PipelineGroups make_pipeline_groups(const Group& pipeline, const Schedule& schedule, Site site) {
  ORTHANT_CHECK(pipeline.size() == schedule.ranks, kInternal, "pipeline schedule ", schedule.name,
                ": want a group of ", schedule.ranks, " ranks, got ", pipeline.name(), " of ",
                pipeline.size());
  PipelineGroups groups{.pipeline = pipeline};
  for (const Channel& channel : channels_of(schedule)) {
    const bool member = pipeline.rank() == channel.from || pipeline.rank() == channel.to;
    const Group group = pipeline.split(member ? 0 : -1, pipeline.rank() == channel.to,
                                       concat(pipeline.name(), " ", text_of(channel)), site);
    if (member) groups.channels.emplace(channel, group);
  }
  return groups;
}

std::vector<Span> run_schedule(const Schedule& schedule, const PipelineGroups& groups,
                               const StageFunctions& stages) {
  return Interpreter(schedule, groups, stages).run();
}

Timeline gather_timeline(const Group& pipeline, const Schedule& schedule,
                         const std::vector<Span>& mine) {
  std::vector<int64_t> rows;
  int64_t total = 0;
  for (const Program& program : schedule.programs) {
    rows.push_back(static_cast<int64_t>(program.size()));
    total += rows.back();
  }
  const Tensor times = Tensor::empty({static_cast<int64_t>(mine.size()), 2}, DType::kF64);
  double* out = times.as<double>();
  for (const Span& span : mine) {
    *out++ = span.start;
    *out++ = span.end;
  }
  const Tensor all = Tensor::empty({total, 2}, DType::kF64);
  pipeline.all_gather(times, all, rows).wait();
  Timeline timeline;
  const double* in = all.as<double>();
  for (const Program& program : schedule.programs) {
    auto& spans = timeline.ranks.emplace_back();
    for (const Action& action : program) {
      spans.push_back({action, in[0], in[1]});
      in += 2;
    }
  }
  return timeline;
}

}  // namespace orthant::pipeline
