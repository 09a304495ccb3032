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
#include "trainer/throughput.h"

namespace orthant {
namespace {

SessionOptions session_options(const PretrainOptions& options) {
  const RunConfig& config = options.plan.config();
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
  const Decoder decoder =
      role.pipeline().decoder({.latent = g.mla, .max_sequences = g.max_sequences});
  for (Generated& written : generate(decoder, tokenizer, wanted))
    samples.push_back({g.prompt, std::move(written.text)});
  return samples;
}

void check_routing(const RunConfig& config, const Role& role) {
  for (const auto& stage : role.pipeline().stages()) stage->check_routing();
  if (config.model.is_moe())
    log::info("routing: checked in ", counted(config.model.num_moe_layers(), "layer"),
              " that a token which chooses an expert is counted for it and sent to its weights ",
              "(docs/balance.md)");
}

// One configuration and one set of inputs on all ranks.  A run that cannot begin leaves nothing
// behind.
void agree_to_begin(const RunConfig& config, const std::string& yaml, const Group& world) {
  check_same_everywhere(world, "the configuration", yaml,
                        [](const std::string& theirs, const std::string& others) {
                          std::string text;
                          for (const ConfigDifference& d : differences<RunConfig>(others, theirs))
                            text += (text.empty() ? "" : "; ") + d.text;
                          return text;
                        });
  every_rank_does(world, [&] { check_inputs(config); });
}

// A run under way.
struct Training {
  const RunPlan& plan;
  const std::string& yaml;
  const Datasets& data;
  const BatchSizes& sizes;
  RunSession& session;
  Engine& engine;
  RunOutcome outcome;
};

void train(Training& run) {
  auto& [plan, yaml, data, sizes, session, engine, outcome] = run;
  const RunConfig& config = plan.config();
  Role& role = engine.role();
  const Group& data_ranks = role.groups().data;
  const std::unique_ptr<Loader> loader = make_loader(config, data, sizes, data_ranks);
  std::optional<EvaluationBatches> evaluation;
  if (config.evaluation.interval > 0) evaluation.emplace(make_evaluation(config, data, data_ranks));
  const Group& world = session.world();
  const double peak_flops = world.sum(config.logging.peak_tflops > 0
                                          ? config.logging.peak_tflops * 1e12
                                          : measure_product_rate(config.precision, role.device()));
  const RunMeasures measures{config, sizes, loader->sampler(), peak_flops};
  describe_run(plan, session, *loader);
  SkipWatch skips;
  MemoryPeaks memory;  // of all steps
  while (session.has_next()) {
    const int64_t step = session.next_step();
    const bool last = session.is_last(step);
    const double begin = now_seconds();
    const std::vector<MicroBatch> batches =
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
    StepMetrics metrics = metrics_of(measures, step, result, now_seconds() - begin);
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
  agree_to_begin(options.plan.config(), yaml, host_world);
  const Device device = device_of(options.plan.config().device);
  RunSession session(
      session_options(options),
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
  const RunBeginning beginning = begin_from_base(config, session.checkpoint() ? &stored.base : nullptr, world);
  Engine engine = pretrain_engine(plan, world, device, beginning.weights);
  Role& role = engine.role();
  describe_training(check_trained(role, lora_rules(config).get()));
  check_routing(config, role);
  PretrainState state;
  session.begin({.configuration = yaml,
                 .changes =
                     [&](const std::string& stored_yaml) {
                       return run_changes(plan, stored, stored_yaml, data.fingerprint,
                                          data.tokenizer->name());
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
  if (session.is_first())
    for (const ModelFile& file : data.tokenizer->model_files())
      replace_file(session.paths().file(file.name), file.content);
  if (!session.has_next()) {
    log::info("nothing to do: ", config.run.dir, " is at step ", session.step(),
              " of run.max_steps ", config.run.max_steps);
    return {.step = session.step()};
  }

  Training training{plan, yaml, data, sizes, session, engine, {}};
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
