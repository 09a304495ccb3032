// SPDX-License-Identifier: Apache-2.0
#include "trainer/engine.h"

#include <algorithm>
#include <cmath>
#include <numeric>

#include "base/context.h"
#include "base/error.h"
#include "optim/schedule.h"
#include "tensor/autograd/var.h"
#include "trainer/step_sums.h"

namespace orthant {
namespace {

// The numbers of a sequence: the objective's loss and sums, then each MoE layer's balance losses.
size_t numbers_of(const Objective& objective, const ModelConfig& model) {
  return 1 + objective.sum_names().size() + static_cast<size_t>(model.num_moe_layers());
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

// A micro-batch that outlives the step.
std::shared_ptr<const MicroBatch> borrowed(const MicroBatch& batch) {
  return {std::shared_ptr<void>(), &batch};
}

// Rows of micro-batches that are to be received.
std::function<std::pair<int64_t, int64_t>(int)> shapes_of(std::span<const MicroBatch> batches) {
  return [batches](int index) {
    const MicroBatch& batch = batches[static_cast<size_t>(index)];
    return std::pair(batch.sequences, batch.length);
  };
}

// The rows of the micro-batches of this rank before each of them.
std::vector<int64_t> sums_before(std::span<const MicroBatch> batches,
                                 int64_t (*rows)(const MicroBatch&)) {
  std::vector<int64_t> before = {0};
  for (const MicroBatch& batch : batches) before.push_back(before.back() + rows(batch));
  return before;
}
int64_t sequences_of(const MicroBatch& batch) { return batch.sequences; }
int64_t tokens_of(const MicroBatch& batch) { return batch.num_tokens(); }

void add_rows(const StageMicroBatch& run, int64_t first, SequenceSums& sums) {
  if (!run.rows.losses.defined()) return;
  const int64_t local_length = run.pass.rows().local_length();
  sums.add_rows(run.rows.losses, local_length, first, 0);
  for (size_t i = 0; i < run.rows.sums.size(); ++i)
    sums.add_rows(run.rows.sums[i], local_length, first, 1 + i);
}

// Routing of a micro-batch, whose first sequence is `first` of this rank's.  Every number is added
// by the one stage that has it.
void add_routing(const Role& role, const StageMicroBatch& run, int64_t first, size_t first_layer,
                 SequenceSums& sums, StepResult& result) {
  for (const LayerRouting& routing : run.pass.moe.routings) {
    const auto layer = static_cast<size_t>(role.config().moe_index(routing.layer));
    std::vector<double>& counts = result.expert_counts[layer];
    for (int64_t s = 0; s < run.pass.rows().sequences(); ++s) {
      // Routing is the same on all ranks that share a micro-batch; one of them tells it.
      if (role.groups().context.rank() == 0)
        sums.at(first + s, first_layer + layer) =
            routing.balance_losses.as<double>()[s] + routing.z_losses.as<double>()[s];
      for (size_t e = 0; e < counts.size(); ++e)
        counts[e] += routing.counts.as<double>()[static_cast<size_t>(s) * counts.size() + e];
      if (routing.dropped.defined()) result.dropped[layer] += routing.dropped.as<double>()[s];
    }
  }
}

// Of all sequences, in global order.
void add_up(const std::vector<double>& sequences, size_t numbers, StepResult& result) {
  const size_t first_layer = 1 + result.sums.size();
  for (size_t i = 0; i < sequences.size(); i += numbers) {
    result.objective_loss += sequences[i];
    for (size_t k = 0; k < result.sums.size(); ++k) result.sums[k] += sequences[i + 1 + k];
    double balance = 0;
    for (size_t layer = first_layer; layer < numbers; ++layer) balance += sequences[i + layer];
    result.balance_loss += balance;
  }
}

}  // namespace

Engine::Engine(std::shared_ptr<Role> role, std::shared_ptr<const Objective> objective,
               const EngineOptions& options)
    : role_(std::move(role)), objective_(std::move(objective)), options_(options) {}

StepResult Engine::accumulate(std::span<const MicroBatch> micro_batches, int64_t step, bool stop) {
  Role& role = *role_;
  const RankGroups& groups = role.groups();
  groups.world.set_step(step);
  const StepShape shape = agree_on_shape(groups, *objective_, micro_batches, stop);
  StepResult result{.count = shape.count,
                    .routed_tokens = shape.routed_tokens,
                    .sums = std::vector<double>(objective_->sum_names().size(), 0.0),
                    .stop_requested = shape.stop};
  const auto moe_layers = static_cast<size_t>(role.config().num_moe_layers());
  result.expert_counts.assign(
      moe_layers, std::vector<double>(static_cast<size_t>(role.config().n_routed_experts), 0.0));
  result.dropped.assign(moe_layers, 0.0);

  role.gradients().set_lanes(plan_lanes(std::ssize(micro_batches) * groups.data.size(),
                                        groups.data.size(), options_.reduction_lanes));
  role.gradients().begin_step();
  const double routed = static_cast<double>(shape.routed_tokens);
  const double loss_scale = routed > 0 ? shape.count / routed : 0.0;
  const std::vector<int64_t> first_sequence = sums_before(micro_batches, sequences_of),
                             first_token = sums_before(micro_batches, tokens_of);
  const size_t numbers = numbers_of(*objective_, role.config());
  SequenceSums sums(first_sequence.back(), numbers);
  const StagePipeline::Work work{
      .num_micro_batches = static_cast<int>(micro_batches.size()),
      .shape_of = shapes_of(micro_batches),
      .prepare =
          [&](StageMicroBatch& run) {
            const auto index = static_cast<size_t>(run.micro_batch);
            run.batch = borrowed(micro_batches[index]);
            PassOptions pass{.step = step,
                             .first_token = shape.tokens_before + first_token[index],
                             .loss_scale = loss_scale,
                             .drops_tokens = role.drops_tokens(),
                             .predicts_further = role.predicts_further()};
            if (replay_)
              pass.replay = [this, index](int64_t layer) {
                return replay_(static_cast<int64_t>(index), layer);
              };
            run.pass = Pass(*run.batch, groups, role.device(), pass);
          },
      .objective = objective_.get(),
      .observe =
          [&](const StageMicroBatch& run) {
            const int64_t first = first_sequence[static_cast<size_t>(run.micro_batch)];
            add_rows(run, first, sums);
            add_routing(role, run, first, 1 + result.sums.size(), sums, result);
            if (observer_) observer_(run.micro_batch, run.pass.moe);
          }};
  {
    const BetweenOpsScope moving([&] { groups.world.progress(); });
    role.pipeline().train(step, work);
  }
  role.gradients().finish_step();
  if (const auto tied = role.pipeline().tied_stages()) tied->add_gradients(role.gradients());

  add_up(sums.gather(groups, shape.sequences), numbers, result);
  if (shape.count > 0) result.objective_loss /= shape.count;
  if (routed > 0) result.balance_loss /= routed;
  sum_counts(groups.data, result);
  if (groups.pipeline.size() > 1) sum_counts(groups.pipeline, result);
  return result;
}

StepResult Engine::step(std::span<const MicroBatch> micro_batches, int64_t step, bool stop) {
  StepResult result = accumulate(micro_batches, step, stop);
  Role& role = *role_;
  const double mean = result.count > 0 ? 1.0 / result.count : 0.0;
  result.learning_rate = learning_rate_at(options_.schedule, options_.learning_rate, step);
  result.grad_norm = role.optimizer().gradient_norm(mean);
  if (failpoint("step.norm", step)) result.grad_norm = std::nan("");
  // Gradients, and so the norm, are the same on every rank; a rank that sees another value (a fail
  // point) still must not differ.
  const double finite = role.groups().world.sum(std::isfinite(result.grad_norm) ? 0.0 : 1.0);
  result.skipped = finite > 0 || result.count == 0;
  if (result.skipped) return result;
  double factor = mean;
  if (options_.grad_clip > 0)
    factor *= std::min(1.0, options_.grad_clip / (result.grad_norm + 1e-6));
  failpoint("step.optimizer", step);
  role.set_updates(role.updates() + 1);
  role.optimizer().step(result.learning_rate, factor, role.updates());
  for (const auto& stage : role.pipeline().stages())
    stage->update_router_biases(result.expert_counts);
  return result;
}

EvaluationResult Engine::evaluate(const std::function<MicroBatch(int64_t)>& batch,
                                  int64_t num_batches) const {
  const Role& role = *role_;
  const RankGroups& groups = role.groups();
  if (num_batches == 0) return {};
  const MicroBatch first = batch(0);  // all have its shape
  const size_t numbers = 1 + objective_->sum_names().size();
  SequenceSums sums(num_batches * first.sequences, numbers);
  std::vector<double> counts(static_cast<size_t>(num_batches), 0.0);
  const StagePipeline::Work work{
      .num_micro_batches = static_cast<int>(num_batches),
      .shape_of = [&](int) { return std::pair(first.sequences, first.length); },
      .prepare =
          [&](StageMicroBatch& run) {
            run.batch = std::make_shared<const MicroBatch>(batch(run.micro_batch));
            counts[static_cast<size_t>(run.micro_batch)] = objective_->count(*run.batch);
            run.pass = Pass(*run.batch, groups, role.device());
          },
      .objective = objective_.get(),
      .observe =
          [&](const StageMicroBatch& run) {
            add_rows(run, run.micro_batch * first.sequences, sums);
          }};
  {
    const BetweenOpsScope moving([&] { groups.world.progress(); });
    role.pipeline().evaluate(work);
  }
  const auto ranks = static_cast<size_t>(groups.data.size());
  EvaluationResult result{.sums = std::vector<double>(numbers - 1, 0.0)};
  const std::vector<double> all =
      sums.gather(groups, std::vector<int64_t>(ranks, num_batches * first.sequences));
  for (size_t i = 0; i < all.size(); i += numbers) {
    result.total += all[i];
    for (size_t k = 1; k < numbers; ++k) result.sums[k - 1] += all[i + k];
  }
  result.count = groups.data.sum(std::accumulate(counts.begin(), counts.end(), 0.0));
  result.loss = result.count > 0 ? result.total / result.count : 0.0;
  return result;
}

void EvaluationResult::add(const EvaluationResult& other) {
  total += other.total;
  count += other.count;
  loss = count > 0 ? total / count : 0.0;
  sums.resize(other.sums.size(), 0.0);
  for (size_t i = 0; i < sums.size(); ++i) sums[i] += other.sums[i];
}

void Engine::forward(std::span<const MicroBatch> micro_batches,
                     const std::function<void(const StageMicroBatch&)>& see) const {
  const Role& role = *role_;
  const RankGroups& groups = role.groups();
  const StagePipeline::Work work{
      .num_micro_batches = static_cast<int>(micro_batches.size()),
      .shape_of = shapes_of(micro_batches),
      .prepare =
          [&](StageMicroBatch& run) {
            run.batch = borrowed(micro_batches[static_cast<size_t>(run.micro_batch)]);
            run.pass = Pass(*run.batch, groups, role.device());
          },
      .objective = objective_.get(),
      .observe = see};
  const BetweenOpsScope moving([&] { groups.world.progress(); });
  role.pipeline().evaluate(work);
}

std::vector<std::vector<double>> Engine::score(std::span<const MicroBatch> micro_batches) const {
  const RankGroups& groups = role_->groups();
  const std::vector<int64_t> first_token = sums_before(micro_batches, tokens_of);
  std::vector<double> tokens(static_cast<size_t>(first_token.back()), 0.0);
  forward(micro_batches, [&](const StageMicroBatch& run) {
    if (!run.rows.losses.defined()) return;
    const std::vector<double> rows = run.rows.losses.to_doubles();
    const int64_t first = first_token[static_cast<size_t>(run.micro_batch)];
    for (const TokenRows::Run& part : run.pass.rows().runs(0, run.pass.rows().num_local()))
      std::copy(rows.begin() + part.begin, rows.begin() + part.end,
                tokens.begin() + first + part.token);
  });
  // One stage and context rank has each token's; the others, zero.
  if (groups.losses.size() > 1) tokens = groups.losses.sum(tokens);
  std::vector<std::vector<double>> scores;
  for (size_t i = 0; i < micro_batches.size(); ++i)
    scores.emplace_back(tokens.begin() + first_token[i], tokens.begin() + first_token[i + 1]);
  return scores;
}

}  // namespace orthant
