// SPDX-License-Identifier: Apache-2.0
#include "trainer/engine.h"

#include <cmath>

#include "base/context.h"
#include "base/error.h"
#include "optim/schedule.h"
#include "tensor/autograd/var.h"
#include "trainer/device.h"

namespace orthant {
namespace {

int64_t count_routed(const Batch& batch) {
  int64_t routed = 0;
  for (int32_t id : batch.ids) routed += id >= 0;
  return routed;
}

// f64 sums over each sequence's tokens, in order: into every stride-th number from `first` on.
void add_sequence_sums(const Tensor& losses, int64_t length, std::vector<double>& sums,
                       size_t first, size_t stride) {
  const std::vector<double> values = losses.to_doubles();
  for (size_t begin = 0; begin < values.size(); begin += static_cast<size_t>(length)) {
    for (size_t i = begin; i < begin + static_cast<size_t>(length); ++i) sums[first] += values[i];
    first += stride;
  }
}

// Every rank's values, in the order of ranks: ranks hold contiguous blocks, so that is the global
// order.
std::vector<double> gather_in_order(const Group& group, const std::vector<double>& mine,
                                    Site site = Site::current()) {
  const int64_t count = static_cast<int64_t>(mine.size());
  const Tensor local = Tensor::from({count}, mine, DType::kF64);
  const Tensor all = Tensor::empty({count * group.size()}, DType::kF64);
  group.all_gather(local, all, site).wait();
  return all.to_doubles();
}

// Sums over ranks of every layer's counts, in one exchange.
void sum_counts(const Group& group, StepResult& result) {
  std::vector<double> flat = result.dropped;
  for (const auto& layer : result.expert_counts)
    flat.insert(flat.end(), layer.begin(), layer.end());
  flat = group.sum(flat);
  auto next = flat.begin();
  for (double& count : result.dropped) count = *next++;
  for (auto& layer : result.expert_counts) {
    for (double& count : layer) count = *next++;
  }
}

}  // namespace

Engine::Engine(const RunConfig& config, const Group& world)
    : config_(config),
      groups_(make_rank_groups(world, config.parallel)),
      device_(device_of(config.device)),
      lanes_(lanes_of_step(1)) {
  context().any_order = config.run.determinism == "none";
  pipeline_ = std::make_unique<StagePipeline>(config_, groups_, device_, store_);
  gradients_ = std::make_unique<GradientBuffers>(
      store_, groups_.replicas, lanes_,
      GradientBuffers::Options{config.parallel.zero_stage == 1, config.parallel.bucket_bytes});
  optimizer_ = std::make_unique<ParameterOptimizer>(config.optimizer, *gradients_, groups_.model,
                                                    pipeline_->tied_stages());
  optimizer_->initialize(static_cast<uint64_t>(config.run.seed));
}

// The number of micro-batches changes on a batch-size ramp only.
LanePlan Engine::lanes_of_step(int64_t step) const {
  return plan_lanes(config_.batch.micro_batches_of_step(step), groups_.data.size(),
                    config_.run.determinism == "layout" ? config_.run.reduction_lanes : 1);
}

void Engine::plan_step(int64_t num_micro_batches, int64_t step) {
  lanes_ = lanes_of_step(step);
  ORTHANT_CHECK(num_micro_batches == lanes_.micro_batches, kInternal, "step ", step, ": want ",
                lanes_.micro_batches, " micro-batches on this rank, got ", num_micro_batches);
  gradients_->set_lanes(lanes_);
}

// per_sequence has 1 + (MoE layers) numbers for each sequence: language loss, and the balance
// losses of each layer, as sums over tokens.  Every number is added by the one stage that has it.
void Engine::record(const StageMicroBatch& run, std::vector<double>& per_sequence,
                    StepResult& result) const {
  const size_t stride = 1 + result.expert_counts.size();
  const auto sequences = static_cast<size_t>(run.pass.rows().sequences());
  const size_t first = static_cast<size_t>(run.micro_batch) * sequences * stride;
  if (run.losses.defined())
    add_sequence_sums(run.losses, run.pass.rows().local_length(), per_sequence, first, stride);
  for (const LayerRouting& routing : run.pass.moe.routings) {
    const auto layer = static_cast<size_t>(config_.model.moe_index(routing.layer));
    std::vector<double>& counts = result.expert_counts[layer];
    for (size_t s = 0; s < sequences; ++s) {
      // Routing is the same on all ranks that share a micro-batch; one of them tells it.
      if (groups_.context.rank() == 0)
        per_sequence[first + s * stride + 1 + layer] =
            routing.balance_losses.as<double>()[s] + routing.z_losses.as<double>()[s];
      for (size_t e = 0; e < counts.size(); ++e)
        counts[e] += routing.counts.as<double>()[s * counts.size() + e];
      if (routing.dropped.defined()) result.dropped[layer] += routing.dropped.as<double>()[s];
    }
  }
}

void Engine::sum_losses(std::vector<double> per_sequence, StepResult& result) const {
  if (groups_.losses.size() > 1) per_sequence = groups_.losses.sum(per_sequence);
  const std::vector<double> all = gather_in_order(groups_.data, per_sequence);
  const size_t stride = 1 + result.expert_counts.size();
  for (size_t i = 0; i < all.size(); i += stride) {
    result.lm_loss += all[i];
    double balance = 0;
    for (size_t layer = 1; layer < stride; ++layer) balance += all[i + layer];
    result.balance_loss += balance;
  }
}

StepResult Engine::accumulate(std::span<const Batch> micro_batches, int64_t step, bool stop) {
  plan_step(static_cast<int64_t>(micro_batches.size()), step);
  groups_.world.set_step(step);
  std::vector<double> local = {0.0, 0.0};
  for (const Batch& batch : micro_batches) {
    local[0] += static_cast<double>(batch.num_labels());
    local[1] += static_cast<double>(count_routed(batch));
  }
  const std::vector<double> counts = groups_.data.sum(local);
  StepResult result;
  result.labelled_tokens = static_cast<int64_t>(counts[0]);
  result.routed_tokens = static_cast<int64_t>(counts[1]);
  result.stop_requested = groups_.world.sum(stop ? 1.0 : 0.0) > 0;
  const auto moe_layers = static_cast<size_t>(config_.model.num_moe_layers());
  const auto experts = static_cast<size_t>(config_.model.n_routed_experts);
  result.expert_counts.assign(moe_layers, std::vector<double>(experts, 0.0));
  result.dropped.assign(moe_layers, 0.0);

  gradients_->begin_step();
  const double loss_scale = counts[1] > 0 ? counts[0] / counts[1] : 0.0;
  const auto sequences = static_cast<size_t>(config_.batch.micro_batch_size);
  std::vector<double> per_sequence(micro_batches.size() * sequences * (1 + moe_layers), 0.0);
  const auto prepare_run = [&](StageMicroBatch& run) {
    const int64_t index = run.micro_batch;
    const Batch& batch = micro_batches[static_cast<size_t>(index)];
    PassOptions options{
        .step = step,
        .first_token = (groups_.data.rank() * lanes_.micro_batches + index) * batch.num_tokens(),
        .loss_scale = loss_scale,
        .drops_tokens = config_.moe.capacity_factor > 0};
    if (replay_) options.replay = [this, index](int64_t layer) { return replay_(index, layer); };
    run.pass = Pass(batch, groups_, device_, options);
  };
  const auto observe = [&](const StageMicroBatch& run) {
    record(run, per_sequence, result);
    if (observer_) observer_(run.micro_batch, run.pass.moe);
  };
  {
    const BetweenOpsScope moving([this] { groups_.world.progress(); });
    pipeline_->train(step, prepare_run, observe);
  }
  gradients_->finish_step();
  if (pipeline_->tied_stages()) pipeline_->tied_stages()->add_gradients(*gradients_);

  sum_losses(std::move(per_sequence), result);
  if (counts[0] > 0) result.lm_loss /= counts[0];
  if (counts[1] > 0) result.balance_loss /= counts[1];
  sum_counts(groups_.data, result);
  if (groups_.pipeline.size() > 1) sum_counts(groups_.pipeline, result);
  return result;
}

StepResult Engine::step(std::span<const Batch> micro_batches, int64_t step, bool stop) {
  StepResult result = accumulate(micro_batches, step, stop);
  const double mean =
      result.labelled_tokens > 0 ? 1.0 / static_cast<double>(result.labelled_tokens) : 0.0;
  result.learning_rate = learning_rate_at(config_.schedule, config_.optimizer.learning_rate, step);
  result.grad_norm = optimizer_->gradient_norm(mean);
  if (failpoint("step.norm", step)) result.grad_norm = std::nan("");
  // Gradients, and so the norm, are the same on every rank; a rank that sees another value (a fail
  // point) still must not differ.
  const double finite = groups_.world.sum(std::isfinite(result.grad_norm) ? 0.0 : 1.0);
  result.skipped = finite > 0 || result.labelled_tokens == 0;
  if (result.skipped) return result;
  double factor = mean;
  if (config_.optimizer.grad_clip > 0) {
    factor *= std::min(1.0, config_.optimizer.grad_clip / (result.grad_norm + 1e-6));
  }
  failpoint("step.optimizer", step);
  optimizer_->step(result.learning_rate, factor, ++updates_);
  for (const auto& stage : pipeline_->stages()) stage->update_router_biases(result.expert_counts);
  return result;
}

EvaluationResult Engine::evaluate(const std::function<Batch(int64_t)>& batch,
                                  int64_t num_batches) const {
  // By micro-batch, on every rank that sees it; by sequence, on the rank that has the losses.
  std::vector<double> labels(static_cast<size_t>(num_batches), 0.0), losses;
  const auto prepare_run = [&](StageMicroBatch& run) {
    const Batch next = batch(run.micro_batch);
    labels[static_cast<size_t>(run.micro_batch)] = static_cast<double>(next.num_labels());
    losses.resize(labels.size() * static_cast<size_t>(next.sequences), 0.0);
    run.pass = Pass(next, groups_, device_);
  };
  const auto observe = [&](const StageMicroBatch& run) {
    if (run.losses.defined())
      add_sequence_sums(run.losses, run.pass.rows().local_length(), losses,
                        static_cast<size_t>(run.micro_batch * run.pass.rows().sequences()), 1);
  };
  {
    const BetweenOpsScope moving([this] { groups_.world.progress(); });
    pipeline_->evaluate(static_cast<int>(num_batches), prepare_run, observe);
  }
  if (groups_.losses.size() > 1) losses = groups_.losses.sum(losses);
  EvaluationResult result;
  for (const double nats : gather_in_order(groups_.data, losses)) result.total_nats += nats;
  double total_labels = 0;
  for (const double n : gather_in_order(groups_.data, labels)) total_labels += n;
  result.labelled_tokens = static_cast<int64_t>(total_labels);
  result.loss = total_labels > 0 ? result.total_nats / total_labels : 0.0;
  return result;
}

}  // namespace orthant
