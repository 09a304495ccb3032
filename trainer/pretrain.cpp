// SPDX-License-Identifier: Apache-2.0
#include "trainer/pretrain.h"

#include <cmath>
#include <numbers>

#include "base/clock.h"
#include "base/config/config.h"
#include "base/context.h"
#include "base/durable_file.h"
#include "base/error.h"
#include "base/log.h"
#include "moe/statistics.h"
#include "optim/schedule.h"
#include "parallel/comm/transport.h"
#include "trainer/agree.h"
#include "trainer/datasets.h"
#include "trainer/device.h"
#include "trainer/generate.h"
#include "trainer/pretrain_engine.h"
#include "trainer/pretrain_report.h"
#include "trainer/run/memory_report.h"
#include "trainer/run/session.h"
#include "trainer/throughput.h"

namespace orthant {
namespace {

// Updates that may fail in a row before the run is given up: the state before them is still the
// checkpoint's.
constexpr int64_t kMaxSkippedInARow = 10;

SessionOptions session_options(const PretrainOptions& options) {
  const RunConfig& config = options.config;
  return {.name = config.run.name,
          .dir = config.run.dir,
          .max_steps = config.run.max_steps,
          .may_resume = config.run.resume != "never",
          .accept_changes = config.run.accept_changes,
          .save_interval = config.checkpoint.interval,
          .keep = config.checkpoint.keep,
          .asynchronous = config.checkpoint.asynchronous,
          .log_interval = config.logging.interval,
          .progress_bar = config.logging.progress == "auto",
          .tensorboard = config.logging.tensorboard,
          .timeout_seconds = config.parallel.timeout_seconds,
          .stop = options.stop,
          .start_seconds = options.start_seconds};
}

// What a checkpoint of pre-training says beside its tensors.
struct PretrainState {
  std::string data_fingerprint, tokenizer;
  int64_t total_steps = 0;      // of the schedule
  int64_t sequence_length = 0;  // of the samples that were counted; 0: before this was kept
  void fields(FieldVisitor& v) {
    v.field("data_fingerprint", data_fingerprint, any_text(), "of what decides a sample");
    v.field("tokenizer", tokenizer, any_text(), "its name");
    v.field("total_steps", total_steps, at_least(0), "where the schedule ends");
    v.field("sequence_length", sequence_length, at_least(0), "tokens of a sample");
  }
};

// A schedule whose end the user did not give ends where it did when the run began: a larger
// run.max_steps goes on at the minimum, and does not bend the curve behind the steps that were
// taken.  Where that minimum is 0 nothing would be learned: then it follows run.max_steps.
void settle_schedule(RunConfig& config, const PretrainState& stored) {
  ScheduleConfig& schedule = config.schedule;
  if (!schedule.follows_max_steps || stored.total_steps == 0 ||
      stored.total_steps == schedule.total_steps)
    return;
  ScheduleConfig kept = schedule;
  kept.total_steps = stored.total_steps;
  if (config.run.max_steps > kept.total_steps && kept.min_learning_rate == 0.0) {
    log::warn("schedule.total_steps: ", schedule.total_steps, " (run.max_steps); it was ",
              kept.total_steps,
              ", behind which the learning rate would be 0: it rises again; "
              "give the key, or schedule.min_learning_rate, for another curve");
    return;
  }
  schedule = kept;
  log::info("schedule.total_steps: ", kept.total_steps,
            ", as when the run began; give the key to change it");
}

// Samples are counted on from what the checkpoint had consumed, whatever the batch is now.
BatchSizes settle_sizes(const RunConfig& config, const Manifest* manifest,
                        const PretrainState& stored) {
  BatchSizes sizes = config.batch.sizes();
  if (!manifest) return sizes;
  sizes.steps_before = manifest->step;
  sizes.samples_before = manifest->samples;
  const int64_t length = config.batch.sequence_length;
  if (stored.sequence_length > 0 && stored.sequence_length != length) {
    sizes.samples_before = manifest->samples * stored.sequence_length / length;
    log::info("data: goes on behind the ", with_thousands(manifest->samples), " samples of ",
              stored.sequence_length, " tokens, as if they had been ",
              with_thousands(sizes.samples_before), " of ", length,
              "; windows of another length come in another order");
  }
  return sizes;
}

// What may not differ between a checkpoint's run and this one.  The schedule's end is compared as it
// was, not as it was written: a stored configuration leaves open what the user left open.
std::vector<std::string> changes(const RunConfig& config, const PretrainState& stored,
                                 const std::string& stored_yaml, const std::string& data) {
  constexpr const char* kEnd = "schedule.total_steps";
  const ScheduleConfig& schedule = config.schedule;
  std::vector<std::string> result;
  for (const ConfigDifference& difference : differences<RunConfig>(stored_yaml, config.yaml())) {
    if (!difference.may_change && !difference.text.starts_with(concat(kEnd, ":")))
      result.push_back(difference.text);
  }
  if (!schedule.follows_max_steps && stored.total_steps != schedule.total_steps)
    result.push_back(concat(kEnd, ": ", stored.total_steps, " -> ", schedule.total_steps));
  if (stored.data_fingerprint != data) result.push_back("the training data is not the same");
  return result;
}

// Skips are told, and end a run that makes no step any more.
class SkipWatch {
 public:
  void see(int64_t step, const StepResult& result, const RunSession& session) {
    in_a_row_ = result.skipped ? in_a_row_ + 1 : 0;
    if (!result.skipped) return;
    log::warn("step ", step, ": gradient norm ", result.grad_norm, ", nothing was updated");
    ORTHANT_CHECK(in_a_row_ < kMaxSkippedInARow, kNumeric, "the gradient norm was not finite in ",
                  kMaxSkippedInARow,
                  " steps in a row; lower optimizer.learning_rate or look at the data; ",
                  session.saved_text());
  }
  // A single bad step leaves the weights as they were; more in a row say that the weights are
  // spoilt, and those are not worth keeping over the ones before.
  bool weights_are_good() const { return in_a_row_ < 2; }

 private:
  int64_t in_a_row_ = 0;
};

StepMetrics metrics_of(const RunConfig& config, const BatchSizes& sizes, int64_t step,
                       const StepResult& result, double seconds, double peak_flops) {
  const int64_t samples = sizes.samples_after(step);
  const double tokens =
      static_cast<double>(sizes.size_of_step(step) * config.batch.sequence_length);
  const double flops =
      flops_per_token(config.model, config.batch.sequence_length) * tokens / seconds;
  StepMetrics metrics{.step = step,
                      .samples = samples,
                      .tokens = samples * config.batch.sequence_length,
                      .loss = result.objective_loss + result.balance_loss,
                      .lm_loss = result.objective_loss,
                      .grad_norm = result.grad_norm,
                      .learning_rate = result.learning_rate,
                      .step_ms = seconds * 1e3,
                      .tokens_per_second = tokens / seconds,
                      .model_tflops = flops / 1e12,
                      .mfu = flops / peak_flops};
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

void evaluate(const Engine& engine, const EvaluationBatches& batches, StepMetrics& metrics) {
  const EvaluationResult result =
      engine.evaluate([&](int64_t i) { return batches.batch(i); }, batches.num_batches());
  const double bits_per_byte =
      result.total / std::numbers::ln2 / static_cast<double>(batches.num_bytes());
  metrics.validation_loss = result.loss;
  metrics.validation_bits_per_byte = bits_per_byte;
  const auto rounded = [](double value) { return std::round(value * 1e4) / 1e4; };
  log::info("step ", metrics.step, ": validation loss ", rounded(result.loss), ", ",
            rounded(bits_per_byte), " bits per byte over ", with_thousands(batches.num_bytes()),
            " bytes");
}

// A picture is no reason to end a run.
void keep_timeline(const PipelineRecord& record, const RunSession& session, RunOutcome& outcome) {
  if (!session.is_first()) return;
  outcome.pipeline = record;
  try {
    replace_file(session.paths().pipeline(), to_json(record));
  } catch (const Error& error) {
    log::warn("the pipeline's timeline of step ", record.step, " is not kept: ", error.what());
  }
}

// All ranks take part in decoding: each holds a part of the model that others need.
std::vector<ReportSample> make_samples(const RunConfig& config, const Role& role,
                                       const Tokenizer& tokenizer) {
  const GenerationConfig& g = config.generation;
  std::vector<GenerateOptions> wanted;
  for (int64_t i = 0; i < g.samples; ++i)
    wanted.push_back(
        {.prompt = g.prompt, .sampling = g.sampling, .seed = config.run.seed, .sample = i});
  if (wanted.empty()) return {};
  std::vector<ReportSample> samples;
  for (std::string& text : generate(role.pipeline().decoder(), tokenizer, wanted))
    samples.push_back({g.prompt, std::move(text)});
  return samples;
}

void check_routing(const RunConfig& config, const Role& role) {
  for (const auto& stage : role.pipeline().stages()) stage->check_routing();
  if (config.model.is_moe())
    log::info("routing: checked in ", counted(config.model.num_moe_layers(), "layer"),
              " that a token which chooses an expert is counted for it and sent to its weights ",
              "(docs/balance.md)");
}

}  // namespace

PretrainResult pretrain(const PretrainOptions& options, const Group& host_world) {
  RunConfig config = options.config;
  const std::string yaml = config.yaml();
  check_same_everywhere(host_world, "the configuration", yaml,
                        [](const std::string& theirs, const std::string& others) {
                          std::string text;
                          for (const ConfigDifference& d : differences<RunConfig>(others, theirs))
                            text += (text.empty() ? "" : "; ") + d.text;
                          return text;
                        });
  // A run that cannot begin leaves nothing behind.
  every_rank_does(host_world, [&] { check_inputs(config); });
  RunSession session(session_options(options), connect_devices(host_world, device_of(config.device),
                                                               config.parallel.device_transport));
  const Group& world = session.world();
  const Datasets data = open_datasets(config, world);
  check_same_everywhere(world, "the training data", data.fingerprint,
                        [](const std::string& theirs, const std::string& others) {
                          return concat("its fingerprint is ", theirs, ", theirs ", others);
                        });
  PretrainState stored;
  session.read([&](FieldVisitor& v) { stored.fields(v); });
  settle_schedule(config, stored);
  const BatchSizes sizes = settle_sizes(config, session.checkpoint(), stored);
  Engine engine = pretrain_engine(config, world);
  Role& role = engine.role();
  check_routing(config, role);
  PretrainState state;
  session.begin({.configuration = yaml,
                 .changes =
                     [&](const std::string& stored_yaml) {
                       return changes(config, stored, stored_yaml, data.fingerprint);
                     },
                 .layout = config.parallel.text(),
                 .state =
                     [&](FieldVisitor& v) {
                       state.fields(v);
                       role.fields(v);
                     },
                 .samples_after = [&](int64_t step) { return sizes.samples_after(step); }},
                {role.saved()});
  state = {.data_fingerprint = data.fingerprint,  // from now on
           .tokenizer = data.tokenizer->name(),
           .total_steps = config.schedule.total_steps,
           .sequence_length = config.batch.sequence_length};
  if (session.is_first() && !data.tokenizer->model_file().empty())
    replace_file(session.paths().tokenizer(), data.tokenizer->model_file());
  if (!session.has_next()) {
    log::info("nothing to do: ", config.run.dir, " is at step ", session.step(),
              " of run.max_steps ", config.run.max_steps);
    return {.step = session.step()};
  }

  const Group& data_ranks = role.groups().data;
  const std::unique_ptr<Loader> loader = make_loader(config, data, sizes, data_ranks);
  std::optional<EvaluationBatches> evaluation;
  if (config.evaluation.interval > 0) evaluation.emplace(make_evaluation(config, data, data_ranks));
  const double peak_flops = world.sum(config.logging.peak_tflops > 0
                                          ? config.logging.peak_tflops * 1e12
                                          : measure_product_rate(config.dtype(), role.device()));
  describe_run(config, session, loader->num_windows());
  SkipWatch skips;
  MemoryPeaks memory;  // of all steps
  RunOutcome outcome;
  while (session.has_next()) {
    const int64_t step = session.next_step();
    const bool last = session.is_last(step);
    const double begin = now_seconds();
    const std::vector<Batch> batches =
        loader->step_share(step - 1, data_ranks.rank(), data_ranks.size());
    // The last step's timeline is kept, and until then one that is not the first of this job.
    const bool recorded =
        config.parallel.pipeline_parallel_size > 1 && (last || step == session.first_step() + 1);
    if (recorded) role.pipeline().record_next_step();
    context().ledger->reset_peaks();
    const StepResult result = engine.step(batches, step, session.wants_stop());
    const MemoryPeaks step_memory = context().ledger->peaks();
    memory.merge(step_memory);
    skips.see(step, result, session);
    StepMetrics metrics =
        metrics_of(config, sizes, step, result, now_seconds() - begin, peak_flops);
    metrics.memory_peak_bytes = step_memory.total();
    if (step % config.logging.interval == 0 || last)
      metrics.memory = memory_metrics(gather_peaks(world, step_memory));
    if (evaluation && (last || step % config.evaluation.interval == 0) && !result.stop_requested) {
      evaluate(engine, *evaluation, metrics);
      outcome.bits_per_byte = metrics.validation_bits_per_byte;
    }
    if (recorded) keep_timeline(role.pipeline().last_record(), session, outcome);
    session.end_step(metrics, {.stop = result.stop_requested,
                               .is_good = std::isfinite(metrics.loss) && skips.weights_are_good()});
    if (metrics.validation_loss && !last) {
      outcome.memory = gather_peaks(world, memory);
      if (session.is_first()) write_run_report(config, session, yaml, outcome);
    }
  }
  if (!session.finish()) return {.step = session.step(), .interrupted = true};
  outcome.samples = make_samples(config, role, *data.tokenizer);
  outcome.memory = gather_peaks(world, memory);
  if (session.is_first()) {
    write_run_report(config, session, yaml, outcome);
    log_outcome(config, session, data, outcome);
  }
  return {.step = session.step()};
}

}  // namespace orthant
