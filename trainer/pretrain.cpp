// SPDX-License-Identifier: Apache-2.0
#include "trainer/pretrain.h"

#include <cmath>
#include <numbers>

#include "base/config/config.h"
#include "base/durable_file.h"
#include "base/error.h"
#include "base/log.h"
#include "parallel/comm/transport.h"
#include "trainer/agree.h"
#include "trainer/datasets.h"
#include "trainer/device.h"
#include "trainer/loop_report.h"
#include "trainer/loop_state.h"
#include "trainer/pretrain_engine.h"
#include "trainer/run_beginning.h"
#include "trainer/step_loop.h"

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

std::vector<ReportSample> make_samples(const RunConfig& config, const Role& role,
                                       const Tokenizer& tokenizer) {
  const GenerationConfig& g = config.generation;
  std::vector<GenerateOptions> wanted;
  for (int64_t i = 0; i < g.samples; ++i)
    wanted.push_back(
        {.prompt = g.prompt, .sampling = g.sampling, .seed = config.run.seed, .sample = i});
  std::vector<ReportSample> samples;
  for (std::string& text : write_samples(config, role, tokenizer, wanted))
    samples.push_back({g.prompt, std::move(text)});
  return samples;
}

// The steps that are left, towards `loop`.
void train(const RunPlan& plan, const Datasets& data, StepLoop& loop) {
  const RunConfig& config = plan.config();
  const Group& data_ranks = loop.engine.role().groups().data;
  const std::unique_ptr<Loader> loader = make_loader(config, data, loop.sizes, data_ranks);
  loop.batches = [&](int64_t step) {
    return loader->step_share(step - 1, data_ranks.rank(), data_ranks.size());
  };
  loop.epochs_at = [&](int64_t samples) { return loader->sampler().epochs_at(samples); };
  loop.uses_at = [&](int64_t samples) { return loader->uses_at(samples); };
  std::optional<EvaluationBatches> evaluation;
  if (config.evaluation.interval > 0) {
    evaluation.emplace(make_evaluation(config, data, data_ranks));
    loop.evaluate = [&](StepMetrics& metrics) {
      evaluate(loop.engine, *evaluation, metrics);
      loop.outcome.bits_per_byte = metrics.validation_bits_per_byte;
      return StepLoop::Verdict{};
    };
  }
  describe_run(plan, loop.session, *loader);
  run_steps(loop);
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
  LoopState stored;
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
  LoopState state;
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

  StepLoop loop{config, yaml, sizes, session, engine, trained.share()};
  train(plan, data, loop);
  if (!session.finish()) return {.step = session.step(), .interrupted = true};
  loop.outcome.samples = make_samples(config, role, *data.tokenizer);
  if (session.is_first()) {
    write_run_report(config, session, yaml, loop.outcome);
    log_outcome(config, session, data, loop.outcome);
  }
  return {.step = session.step()};
}

}  // namespace orthant
