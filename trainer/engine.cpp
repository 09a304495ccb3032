// SPDX-License-Identifier: Apache-2.0
#include "trainer/engine.h"

#include <cmath>

#include "base/context.h"
#include "base/error.h"
#include "moe/protected_rows.h"
#include "optim/schedule.h"
#include "trainer/device.h"

namespace orthant {
namespace {

int64_t count_routed(const Batch& batch) {
  int64_t routed = 0;
  for (int32_t id : batch.ids) routed += id >= 0;
  return routed;
}

// f64 sums over each sequence's tokens, in order.
void append_sequence_sums(const Tensor& losses, int64_t length, std::vector<double>& sums,
                          size_t stride) {
  const std::vector<double> values = losses.to_doubles();
  for (size_t begin = 0; begin < values.size(); begin += static_cast<size_t>(length)) {
    double sum = 0;
    for (size_t i = begin; i < begin + static_cast<size_t>(length); ++i) sum += values[i];
    sums.push_back(sum);
    sums.resize(sums.size() + stride - 1, 0.0);
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

ModelInput to_model_input(const Batch& batch, Device device) {
  const Shape shape{batch.num_tokens()};
  return {.batch = batch.sequences,
          .length = batch.length,
          .ids = Tensor::from_i32(shape, batch.ids, device),
          .labels = Tensor::from_i32(shape, batch.labels, device),
          .positions = Tensor::from_i32(shape, batch.positions, device),
          .doc_start = Tensor::from_i32(shape, batch.doc_start, device)};
}

Engine::Engine(const RunConfig& config, const Group& world)
    : config_(config),
      groups_(make_rank_groups(world, config.parallel)),
      device_(device_of(config.device)),
      lanes_(lanes_of_step(1)) {
  context().any_order = config.run.determinism == "none";
  model_ = std::make_unique<Transformer>(
      TransformerOptions{
          .config = config.model,
          .moe = config.moe,
          .dtype = config.dtype(),
          .device = device_,
          .recompute = config.parallel.recompute == "full" ? Recompute::kFull : Recompute::kNone,
          .ranks = groups_,
          .seed = static_cast<uint64_t>(config.run.seed)},
      store_);
  gradients_ = std::make_unique<GradientBuffers>(
      store_, groups_.replicas, lanes_,
      GradientBuffers::Options{config.parallel.zero_stage == 1, config.parallel.bucket_bytes});
  optimizer_ = std::make_unique<ParameterOptimizer>(config.optimizer, *gradients_, groups_.model);
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

// per_sequence gets two numbers for each sequence: language loss and balance loss, both as sums
// over tokens.
void Engine::run_micro_batch(const Batch& batch, int64_t index, int64_t step, double loss_scale,
                             std::vector<double>& per_sequence, StepResult& result) {
  const int64_t global_index = groups_.data.rank() * lanes_.micro_batches + index;
  const ModelInput input = to_model_input(batch, device_);
  MoeContext moe{.loss_scale = loss_scale};
  if (config_.moe.capacity_factor > 0)
    moe.protected_rows = protected_rows(batch.sample_ids, device_);
  if (replay_) moe.replay = [&](int64_t layer) { return replay_(index, layer); };
  HeadLoss loss = model_->loss(input, moe, step, global_index * batch.num_tokens());
  failpoint("step.forward", step);
  backward(loss.sum, Tensor::from({1}, {{1.0}}, loss.sum.value().dtype(), device_), nullptr,
           [this] { gradients_->poll(); });
  failpoint("step.backward", step);

  const size_t first = per_sequence.size();
  append_sequence_sums(loss.losses, batch.length, per_sequence, 2);
  result.expert_counts.resize(moe.routings.size());
  result.dropped.resize(moe.routings.size());
  for (size_t i = 0; i < moe.routings.size(); ++i) {
    const LayerRouting& routing = moe.routings[i];
    const int64_t experts = routing.counts.dim(1);
    result.expert_counts[i].resize(static_cast<size_t>(experts), 0.0);
    for (int64_t s = 0; s < batch.sequences; ++s) {
      per_sequence[first + 2 * static_cast<size_t>(s) + 1] +=
          routing.balance_losses.as<double>()[s] + routing.z_losses.as<double>()[s];
      for (int64_t e = 0; e < experts; ++e)
        result.expert_counts[i][static_cast<size_t>(e)] +=
            routing.counts.as<double>()[s * experts + e];
      if (routing.dropped.defined()) result.dropped[i] += routing.dropped.as<double>()[s];
    }
  }
  if (observer_) observer_(index, moe);
}

StepResult Engine::accumulate(std::span<const Batch> micro_batches, int64_t step, bool stop) {
  plan_step(static_cast<int64_t>(micro_batches.size()), step);
  groups_.world.set_step(step);
  std::vector<double> local = {0.0, 0.0, stop ? 1.0 : 0.0};
  for (const Batch& batch : micro_batches) {
    local[0] += static_cast<double>(batch.num_labels());
    local[1] += static_cast<double>(count_routed(batch));
  }
  const std::vector<double> counts = groups_.data.sum(local);
  StepResult result;
  result.labelled_tokens = static_cast<int64_t>(counts[0]);
  result.routed_tokens = static_cast<int64_t>(counts[1]);
  result.stop_requested = counts[2] > 0;

  gradients_->begin_step();
  const double loss_scale = counts[1] > 0 ? counts[0] / counts[1] : 0.0;
  std::vector<double> per_sequence;
  for (size_t i = 0; i < micro_batches.size(); ++i) {
    run_micro_batch(micro_batches[i], static_cast<int64_t>(i), step, loss_scale, per_sequence,
                    result);
  }
  gradients_->finish_step();

  const std::vector<double> all = gather_in_order(groups_.data, per_sequence);
  for (size_t i = 0; i < all.size(); i += 2) {
    result.lm_loss += all[i];
    result.balance_loss += all[i + 1];
  }
  if (counts[0] > 0) result.lm_loss /= counts[0];
  if (counts[1] > 0) result.balance_loss /= counts[1];
  sum_counts(groups_.data, result);
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
  model_->update_router_biases(result.expert_counts);
  return result;
}

EvaluationResult Engine::evaluate(const std::function<Batch(int64_t)>& batch,
                                  int64_t num_batches) const {
  const NoGradScope no_grad;
  std::vector<double> local = {0.0};  // the first entry counts labels
  for (int64_t i = 0; i < num_batches; ++i) {
    const Batch next = batch(i);
    MoeContext moe;
    local[0] += static_cast<double>(next.num_labels());
    const HeadLoss loss = model_->loss(to_model_input(next, device_), moe, 0, 0);
    append_sequence_sums(loss.losses, next.length, local, 1);
  }
  const std::vector<double> all = gather_in_order(groups_.data, local);
  EvaluationResult result;
  double labels = 0;
  for (size_t i = 0; i < all.size(); ++i) {
    (i % local.size() == 0 ? labels : result.total_nats) += all[i];
  }
  result.labelled_tokens = static_cast<int64_t>(labels);
  result.loss = labels > 0 ? result.total_nats / labels : 0.0;
  return result;
}

}  // namespace orthant
