// SPDX-License-Identifier: Apache-2.0
#include "trainer/stage_pipeline.h"

#include <limits>

#include "base/clock.h"
#include "base/context.h"
#include "base/error.h"
#include "parallel/pipeline/common_clock.h"

namespace orthant {

namespace {

// Times since the first action of all ranks.
void from_zero(pipeline::Timeline& timeline) {
  double first = std::numeric_limits<double>::infinity();
  for (const auto& spans : timeline.ranks)
    for (const pipeline::Span& span : spans) first = std::min(first, span.start);
  for (auto& spans : timeline.ranks) {
    for (pipeline::Span& span : spans) {
      span.start -= first;
      span.end -= first;
    }
  }
}

Recompute recompute_of(const std::string& name) {
  if (name == "selective") return Recompute::kSelective;
  return name == "full" ? Recompute::kFull : Recompute::kNone;
}

}  // namespace

StagePipeline::StagePipeline(const RunConfig& config, const RankGroups& ranks, Device device,
                             ParameterStore& store)
    : config_(config), device_(device) {
  const pipeline::Schedule& schedule = schedule_of(1);
  const std::vector<StageLayers> layers = stage_layers(config, schedule.stages());
  const int own = ranks.pipeline.rank();
  const int first_rank = schedule.rank(0), last_rank = schedule.rank(schedule.stages() - 1);
  for (int s = 0; s < schedule.stages(); ++s) {
    if (schedule.rank(s) != own) continue;
    const TransformerOptions options{.config = config.model,
                                     .moe = config.moe,
                                     .dtype = config.dtype(),
                                     .device = device,
                                     .recompute = recompute_of(config.parallel.recompute),
                                     .recompute_layers = config.parallel.recompute_layers,
                                     .ranks = ranks,
                                     .layers = layers[static_cast<size_t>(s)],
                                     .holds_both_ends = first_rank == last_rank,
                                     .seed = static_cast<uint64_t>(config.run.seed)};
    slot_of_[s] = stages_.size();
    stages_.push_back(std::make_unique<Transformer>(
        options, store, stages_.empty() || !stages_[0]->is_first() ? nullptr : stages_[0].get()));
  }
  groups_ = make_pipeline_groups(ranks.pipeline, schedule);
  if (!config.model.tie_word_embeddings || first_rank == last_rank) return;
  const bool at_an_end = own == first_rank || own == last_rank;
  const Group pair = ranks.pipeline.split(at_an_end ? 0 : -1, own == last_rank, "tied");
  if (at_an_end)
    tied_ =
        std::make_shared<TiedStages>(pair, own == first_rank ? *stages_.front()->embedding_weight()
                                                             : *stages_.back()->head_weight());
}

const pipeline::Schedule& StagePipeline::schedule_of(int64_t step) {
  const int64_t micro_batches = config_.batch.micro_batches_of_step(step);
  const auto found = schedules_.find(micro_batches);
  if (found != schedules_.end()) return found->second;
  return schedules_.emplace(micro_batches, make_step_schedule(config_, step)).first->second;
}

Tensor StagePipeline::forward(int index, int micro_batch, const Tensor& x, const Prepare& prepare,
                              const Observe& observe, StageMicroBatch& run) const {
  const Transformer& model = stage(index);
  run.micro_batch = micro_batch;
  prepare(run);
  if (x.defined()) run.x = Var::leaf(x);
  run.y = model.forward(run.x, run.pass);
  Tensor out;
  if (model.is_last()) {
    HeadLoss loss = model.head().loss(run.y, run.pass.labels);
    run.y = loss.sum;
    run.losses = loss.losses;
  } else {
    out = run.y.value();
  }
  observe(run);
  return out;
}

void StagePipeline::train(int64_t step, const Prepare& prepare, const Observe& observe) {
  std::map<std::pair<int, int>, StageMicroBatch> running;  // between forward and backward
  pipeline::StageFunctions functions;
  functions.forward = [&](int index, int micro_batch, const Tensor& x) {
    const Tensor out =
        forward(index, micro_batch, x, prepare, observe, running[{index, micro_batch}]);
    failpoint("step.forward", step);
    return out;
  };
  functions.backward = [&](int index, int micro_batch, const Tensor& dy, WeightGradQueue* queue) {
    const auto run = running.extract({index, micro_batch});
    const Var y = run.mapped().y;
    run.mapped().y = Var();  // the tape goes as backward runs
    backward(y,
             stage(index).is_last() ? Tensor::from({1}, {{1.0}}, y.value().dtype(), device_) : dy,
             queue);
    failpoint("step.backward", step);
    return run.mapped().x.defined() ? run.mapped().x.grad() : Tensor();
  };
  functions.input_like = [&](int, int) {
    return Tensor::empty(stages_.front()->stream_shape(config_.batch.micro_batch_size,
                                                       config_.batch.sequence_length),
                         config_.dtype(), device_);
  };
  const pipeline::Schedule& schedule = schedule_of(step);
  const double lead = is_recorded_ ? pipeline::clock_lead(groups_.pipeline) : 0;
  if (is_recorded_) groups_.pipeline.barrier();
  const double begin = now_seconds() - lead;
  std::vector<pipeline::Span> spans = run_schedule(schedule, groups_, functions);
  if (!is_recorded_) return;
  is_recorded_ = false;
  for (pipeline::Span& span : spans) {
    span.start += begin;
    span.end += begin;
  }
  record_ = {step, schedule, gather_timeline(groups_.pipeline, schedule, spans)};
  from_zero(record_.timeline);
}

void StagePipeline::evaluate(int num_micro_batches, const Prepare& prepare,
                             const Observe& observe) const {
  const NoGradScope no_grad;
  pipeline::StageFunctions functions;
  int64_t sequences = 0, length = 0;  // the first micro-batch says: all have one shape
  StageMicroBatch shape_of;
  if (num_micro_batches > 0) {
    prepare(shape_of);
    sequences = shape_of.pass.rows().sequences(), length = shape_of.pass.rows().length();
  }
  functions.forward = [&](int index, int micro_batch, const Tensor& x) {
    StageMicroBatch run;
    return forward(index, micro_batch, x, prepare, observe, run);
  };
  functions.input_like = [&](int, int) {
    return Tensor::empty(stages_.front()->stream_shape(sequences, length), config_.dtype(),
                         device_);
  };
  run_schedule(make_forward_schedule(schedules_.begin()->second, num_micro_batches), groups_,
               functions);
}

}  // namespace orthant
