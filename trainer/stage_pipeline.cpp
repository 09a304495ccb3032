// SPDX-License-Identifier: Apache-2.0
#include "trainer/stage_pipeline.h"

#include <limits>

#include "base/clock.h"
#include "base/context.h"
#include "base/error.h"
#include "parallel/pipeline/common_clock.h"
#include "parallel/pipeline/generators.h"

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

}  // namespace

StagePipeline::StagePipeline(const StageOptions& options, const RankGroups& ranks,
                             ParameterStore& store)
    : options_(options),
      store_(store),
      // Enough micro-batches for any schedule: they do not move stages.
      nominal_(pipeline::make_schedule(options.schedule, ranks.pipeline.size(),
                                       2 * ranks.pipeline.size(), options.chunks)) {
  const int stages = nominal_.stages(), own = ranks.pipeline.rank();
  if (options_.layers.empty()) options_.layers = {StageLayers{}};
  ORTHANT_CHECK(std::ssize(options_.layers) == stages, kInternal, "pipeline: want the layers of ",
                stages, " stages, got ", options_.layers.size());
  const int first_rank = nominal_.rank(0), last_rank = nominal_.rank(stages - 1);
  for (int s = 0; s < stages; ++s) {
    if (nominal_.rank(s) != own) continue;
    const TransformerOptions built{.config = options.model,
                                   .moe = options.moe,
                                   .dtype = options.dtype,
                                   .device = options.device,
                                   .recompute = options.recompute,
                                   .recompute_layers = options.recompute_layers,
                                   .ranks = ranks,
                                   .layers = options_.layers[static_cast<size_t>(s)],
                                   .holds_both_ends = first_rank == last_rank,
                                   .seed = options.dropout_seed,
                                   .adapters = options.adapters,
                                   .quantization = options.quantization};
    slot_of_[s] = stages_.size();
    first_parameters_.push_back(store.all().size());
    stages_.push_back(std::make_unique<Transformer>(
        built, store, stages_.empty() || !stages_[0]->is_first() ? nullptr : stages_[0].get()));
  }
  trains_below_.assign(static_cast<size_t>(stages), true);
  groups_ = make_pipeline_groups(ranks.pipeline, nominal_);
  if (!options.model.shares_embedding() || first_rank == last_rank) return;
  const bool at_an_end = own == first_rank || own == last_rank;
  const Group pair = ranks.pipeline.split(at_an_end ? 0 : -1, own == last_rank, "tied");
  if (at_an_end)
    tied_ = std::make_shared<TiedStages>(
        pair, *(own == first_rank ? stages_.front() : stages_.back())->embedding_weight());
}

void StagePipeline::settle_gradients() {
  std::vector<double> trains(trains_below_.size(), 0.0);
  for (const auto& [stage, slot] : slot_of_) {
    const size_t end =
        slot + 1 < stages_.size() ? first_parameters_[slot + 1] : store_.all().size();
    for (size_t i = first_parameters_[slot]; i < end; ++i)
      if (store_.all()[i]->trainable()) trains[static_cast<size_t>(stage)] = 1.0;
  }
  trains = groups_.pipeline.sum(trains);
  bool below = false;
  for (size_t stage = 0; stage < trains.size(); ++stage) {
    trains_below_[stage] = below;
    below = below || trains[stage] > 0;
  }
}

Decoder StagePipeline::decoder(const DecoderOptions& options) const {
  std::vector<const Transformer*> stages;
  for (const auto& stage : stages_) stages.push_back(stage.get());
  return Decoder(std::move(stages), options);
}

const pipeline::Schedule& StagePipeline::schedule_of(int num_micro_batches) {
  const auto found = schedules_.find(num_micro_batches);
  if (found != schedules_.end()) return found->second;
  return schedules_
      .emplace(num_micro_batches, pipeline::make_schedule(options_.schedule, nominal_.ranks,
                                                          num_micro_batches, options_.chunks))
      .first->second;
}

Tensor StagePipeline::stream_like(const Work& work, int micro_batch) const {
  const auto [sequences, length] = work.shape_of(micro_batch);
  return Tensor::empty(stages_.front()->stream_shape(sequences, length), options_.dtype,
                       options_.device);
}

Tensor StagePipeline::forward(int index, int micro_batch, const Tensor& x, const Work& work,
                              StageMicroBatch& run) const {
  const Transformer& model = stage(index);
  run.micro_batch = micro_batch;
  work.prepare(run);
  if (x.defined()) run.x = trains_below_[static_cast<size_t>(index)] ? Var::leaf(x) : Var(x);
  run.y = model.forward(run.x, run.pass);
  Tensor out;
  if (model.is_last()) {
    run.rows = work.objective->run(model, run.y, run.pass, *run.batch);
    run.y = std::exchange(run.rows.loss, Var());
  } else {
    out = run.y.value();
  }
  work.observe(run);
  return out;
}

Tensor StagePipeline::backward_of(int index, StageMicroBatch& run, const Tensor& dy,
                                  WeightGradQueue* queue) const {
  const Var y = std::exchange(run.y, Var());  // the tape goes as backward runs
  if (y.needs_grad()) {
    backward(y,
             stage(index).is_last() ? Tensor::from({1}, {{1.0}}, y.value().dtype(), options_.device)
                                    : dy,
             queue);
  }
  if (!run.x.defined()) return Tensor();
  if (run.x.needs_grad() && run.x.grad().defined()) return run.x.grad();
  return Tensor::zeros(run.x.value().shape(), options_.dtype, options_.device);  // nobody reads it
}

void StagePipeline::train(int64_t step, const Work& work) {
  std::map<std::pair<int, int>, StageMicroBatch> running;  // between forward and backward
  pipeline::StageFunctions functions;
  functions.forward = [&](int index, int micro_batch, const Tensor& x) {
    const Tensor out = forward(index, micro_batch, x, work, running[{index, micro_batch}]);
    failpoint("step.forward", step);
    return out;
  };
  functions.backward = [&](int index, int micro_batch, const Tensor& dy, WeightGradQueue* queue) {
    auto run = running.extract({index, micro_batch});
    const Tensor dx = backward_of(index, run.mapped(), dy, queue);
    failpoint("step.backward", step);
    return dx;
  };
  functions.input_like = [&](int, int micro_batch) { return stream_like(work, micro_batch); };
  const pipeline::Schedule& schedule = schedule_of(work.num_micro_batches);
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

void StagePipeline::evaluate(const Work& work) const {
  const NoGradScope no_grad;
  pipeline::StageFunctions functions;
  functions.forward = [&](int index, int micro_batch, const Tensor& x) {
    StageMicroBatch run;
    return forward(index, micro_batch, x, work, run);
  };
  functions.input_like = [&](int, int micro_batch) { return stream_like(work, micro_batch); };
  run_schedule(make_forward_schedule(nominal_, work.num_micro_batches), groups_, functions);
}

}  // namespace orthant
