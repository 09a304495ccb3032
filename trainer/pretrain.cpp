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
#include "parallel/comm/transport.h"
#include "trainer/agree.h"
#include "trainer/base_model.h"
#include "trainer/datasets.h"
#include "trainer/device.h"
#include "trainer/generate.h"
#include "trainer/pretrain_engine.h"
#include "trainer/pretrain_metrics.h"
#include "trainer/pretrain_report.h"
#include "trainer/pretrain_state.h"
#include "trainer/run/memory_report.h"
#include "trainer/run/session.h"
#include "trainer/run_loop.h"
#include "trainer/throughput.h"

namespace orthant {
namespace {

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
  const Decoder decoder =
      role.pipeline().decoder({.latent = g.mla, .max_sequences = g.max_sequences});
  for (Generated& written : generate(decoder, tokenizer, wanted))
    samples.push_back({g.prompt, std::move(written.text)});
  return samples;
}

// A run under way.
struct Training {
  const RunPlan& plan;
  const std::string& yaml;
  const Datasets& data;
  const BatchSizes& sizes;
  RunSession& session;
  Engine& engine;
  double trained_share;
  RunOutcome outcome;
};

void train(Training& run) {
  auto& [plan, yaml, data, sizes, session, engine, trained_share, outcome] = run;
  const RunConfig& config = plan.config();
  Role& role = engine.role();
  const Group& data_ranks = role.groups().data;
  const std::unique_ptr<Loader> loader = make_loader(config, data, sizes, data_ranks);
  std::optional<EvaluationBatches> evaluation;
  if (config.evaluation.interval > 0) evaluation.emplace(make_evaluation(config, data, data_ranks));
  const Group& world = session.world();
  const double peak_flops = peak_of_all(config, role.device(), world);
  const RunMeasures measures{config, sizes,
                             [&](int64_t samples) { return loader->sampler().epochs_at(samples); },
                             peak_flops, run.trained_share};
  describe_run(plan, session, *loader);
  SkipWatch skips;
  MemoryPeaks memory;  // of all steps
  while (session.has_next()) {
    const int64_t step = session.next_step();
    const bool last = session.is_last(step);
    const double begin = now_seconds();
    const std::vector<MicroBatch> batches =
        loader->step_share(step - 1, data_ranks.rank(), data_ranks.size());
    const bool recorded = records_step(config, session, step);
    if (recorded) role.pipeline().record_next_step();
    context().ledger->reset_peaks();
    const StepResult result = engine.step(batches, step, session.wants_stop());
    const MemoryPeaks step_memory = context().ledger->peaks();
    memory.merge(step_memory);
    skips.see(step, result, session);
    StepMetrics metrics = metrics_of(measures, step, result, now_seconds() - begin);
    metrics.memory_peak_bytes = step_memory.total();
    if (step % config.logging.interval == 0 || last)
      metrics.memory = memory_metrics(gather_peaks(world, step_memory));
    if (evaluation && (last || step % config.evaluation.interval == 0) && !result.stop_requested) {
      evaluate(engine, *evaluation, metrics);
      outcome.bits_per_byte = metrics.validation_bits_per_byte;
    }
    if (recorded) outcome.pipeline = keep_timeline(role.pipeline().last_record(), session);
    session.end_step(metrics, {.stop = result.stop_requested,
                               .is_good = std::isfinite(metrics.loss) && skips.weights_are_good()});
    if (metrics.validation_loss && !last) {
      outcome.memory = gather_peaks(world, memory);
      outcome.sources = loader->uses_at(metrics.samples);
      if (session.is_first()) write_run_report(config, session, yaml, outcome);
    }
  }
  outcome.memory = gather_peaks(world, memory);
  outcome.sources = loader->uses_at(sizes.samples_after(session.step()));
}

}  // namespace

PretrainResult pretrain(const PretrainOptions& options, const Group& host_world) {
  const std::string yaml = options.plan.yaml();
  agree_on_configuration<RunConfig>(yaml, host_world);
  every_rank_does(host_world, [&] { check_inputs(options.plan.config()); });
  const Device device = device_of(options.plan.config().device);
  RunSession session(
      session_options(options.plan.config(), options.stop, options.start_seconds),
      connect_devices(host_world, device, options.plan.config().parallel.device_transport));
  const Group& world = session.world();
  const Datasets data = open_datasets(options.plan.config(), world);
  check_same_everywhere(world, "the training data", data.fingerprint,
                        [](const std::string& theirs, const std::string& others) {
                          return concat("its fingerprint is ", theirs, ", theirs ", others);
                        });
  PretrainState stored;
  session.read([&](FieldVisitor& v) { stored.fields(v); });
  const RunPlan plan = going_on(options.plan, stored);
  const RunConfig& config = plan.config();
  const BatchSizes sizes = settle_sizes(config, session.checkpoint(), stored);
  const RunBeginning beginning =
      begin_from_base(config, session.checkpoint() ? &stored.base : nullptr, world);
  Engine engine = pretrain_engine(plan, world, device, beginning.weights);
  Role& role = engine.role();
  const TrainedShare trained = check_trained(role, lora_rules(config).get());
  describe_training(trained);
  check_routing(config, role);
  PretrainState state;
  session.begin({.configuration = yaml,
                 .changes =
                     [&](const std::string& stored_yaml) {
                       return run_changes(plan, stored,
                                          differences<RunConfig>(stored_yaml, plan.yaml()),
                                          data.fingerprint, data.tokenizer->name());
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
           .begins_with = session.checkpoint() ? stored.begins_with : beginning.begins_with,
           .total_steps = config.schedule.total_steps,
           .sequence_length = config.batch.sequence_length,
           .base = beginning.base};
  keep_tokenizer(session, *data.tokenizer);
  if (!session.has_next()) {
    log::info("nothing to do: ", config.run.dir, " is at step ", session.step(),
              " of run.max_steps ", config.run.max_steps);
    return {.step = session.step()};
  }

  Training training{plan, yaml, data, sizes, session, engine, trained.share(), {}};
  train(training);
  if (!session.finish()) return {.step = session.step(), .interrupted = true};
  training.outcome.samples = make_samples(config, role, *data.tokenizer);
  if (session.is_first()) {
    write_run_report(config, session, yaml, training.outcome);
    log_outcome(config, session, data, training.outcome);
  }
  return {.step = session.step()};
}

}  // namespace orthant
