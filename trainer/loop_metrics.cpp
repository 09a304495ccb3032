// SPDX-License-Identifier: Apache-2.0
#include "trainer/loop_metrics.h"

#include "base/error.h"
#include "base/log.h"
#include "moe/statistics.h"

namespace orthant {
namespace {

// Updates that may fail in a row before the run is given up: the state before them is still the
// checkpoint's.
constexpr int64_t kMaxSkippedInARow = 10;

// What multi-token prediction adds to the loss (add_further_loss).
double further_loss(const ModelConfig& model, const StepResult& result) {
  if (model.num_nextn_predict_layers == 0 || result.sums.empty() || result.count == 0) return 0.0;
  return result.sums.back() / result.count;
}

}  // namespace

void SkipWatch::see(int64_t step, const StepResult& result, const RunSession& session) {
  in_a_row_ = result.skipped ? in_a_row_ + 1 : 0;
  if (!result.skipped) return;
  log::warn("step ", step, ": gradient norm ", result.grad_norm, ", nothing was updated");
  ORTHANT_CHECK(in_a_row_ < kMaxSkippedInARow, kNumeric, "the gradient norm was not finite in ",
                kMaxSkippedInARow,
                " steps in a row; lower optimizer.learning_rate or look at the data; ",
                session.saved_text());
}

StepMetrics metrics_of(const RunMeasures& run, int64_t step, const StepResult& result,
                       double seconds) {
  const RunConfig& config = run.config;
  const BatchSizes& sizes = run.sizes;
  const int64_t samples = sizes.samples_after(step);
  const double tokens =
      static_cast<double>(sizes.size_of_step(step) * config.batch.sequence_length);
  // Forward, gradients of activations, gradients of weights: a third each.
  const double flops = flops_per_token(config.model, config.batch.sequence_length) *
                       (2.0 + run.trained_share) / 3.0 * tokens / seconds;
  const double further = further_loss(config.model, result);
  StepMetrics metrics{.step = step,
                      .samples = samples,
                      .tokens = samples * config.batch.sequence_length,
                      .loss = result.objective_loss + result.balance_loss + further,
                      .lm_loss = result.objective_loss,
                      .grad_norm = result.grad_norm,
                      .learning_rate = result.learning_rate,
                      .step_ms = seconds * 1e3,
                      .tokens_per_second = tokens / seconds,
                      .model_tflops = flops / 1e12,
                      .mfu = flops / run.peak_flops,
                      .epochs = run.epochs_at(samples)};
  if (config.model.num_nextn_predict_layers > 0)
    metrics.mtp_loss = further / config.model.mtp_loss_weight;
  if (config.model.is_moe()) {
    metrics.balance_loss = result.balance_loss;
    const RoutingStatistics routing = routing_statistics(result.expert_counts, result.dropped);
    metrics.expert_load_max_over_mean = routing.max_over_mean;
    metrics.expert_load_entropy = routing.entropy;
    metrics.dropped_fraction = routing.dropped_fraction;
    if (step % config.logging.interval == 0) {
      for (const std::vector<double>& counts : result.expert_counts)
        metrics.expert_loads.push_back(relative_loads(counts));
    }
  }
  return metrics;
}

}  // namespace orthant
