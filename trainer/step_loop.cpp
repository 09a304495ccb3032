// SPDX-License-Identifier: Apache-2.0
#include "trainer/step_loop.h"

#include <cmath>

#include "base/clock.h"
#include "base/context.h"
#include "base/durable_file.h"
#include "base/error.h"
#include "base/log.h"
#include "trainer/loop_metrics.h"
#include "trainer/run/memory_report.h"
#include "trainer/throughput.h"

namespace orthant {

SessionOptions session_options(const RunConfig& config, const std::atomic<bool>* stop,
                               double start_seconds) {
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
          .stop = stop,
          .start_seconds = start_seconds};
}

void check_routing(const RunConfig& config, const Role& role) {
  for (const auto& stage : role.pipeline().stages()) stage->check_routing();
  if (config.model.is_moe())
    log::info("routing: checked in ", counted(config.model.num_moe_layers(), "layer"),
              " that a token which chooses an expert is counted for it and sent to its weights ",
              "(docs/balance.md)");
}

void keep_tokenizer(const RunSession& session, const Tokenizer& tokenizer) {
  if (!session.is_first()) return;
  for (const ModelFile& file : tokenizer.model_files())
    replace_file(session.paths().file(file.name), file.content);
}

namespace {

// Operations a second of all ranks, as given or measured.
double peak_of_all(const RunConfig& config, Device device, const Group& world) {
  return world.sum(config.logging.peak_tflops > 0 ? config.logging.peak_tflops * 1e12
                                                  : measure_product_rate(config.precision, device));
}

// Whether a step's timeline is recorded: the last step's is kept, and until then one that is not
// the first of this job.
bool records_step(const RunConfig& config, const RunSession& session, int64_t step) {
  return config.parallel.pipeline_parallel_size > 1 &&
         (session.is_last(step) || step == session.first_step() + 1);
}

// A picture is no reason to end a run.
void keep_timeline(const PipelineRecord& record, StepLoop& loop) {
  if (!loop.session.is_first()) return;
  loop.outcome.pipeline = record;
  try {
    replace_file(loop.session.paths().pipeline(), to_json(record));
  } catch (const Error& error) {
    log::warn("the pipeline's timeline of step ", record.step, " is not kept: ", error.what());
  }
}

}  // namespace

void run_steps(StepLoop& loop) {
  const RunConfig& config = loop.config;
  RunSession& session = loop.session;
  Role& role = loop.engine.role();
  const Group& world = session.world();
  const RunMeasures measures{config, loop.sizes, loop.epochs_at,
                             peak_of_all(config, role.device(), world), loop.trained_share};
  SkipWatch skips;
  MemoryPeaks memory;  // of all steps
  while (session.has_next()) {
    const int64_t step = session.next_step();
    const bool last = session.is_last(step);
    const double begin = now_seconds();
    const std::vector<MicroBatch> batches = loop.batches(step);
    const bool recorded = records_step(config, session, step);
    if (recorded) role.pipeline().record_next_step();
    context().ledger->reset_peaks();
    const StepResult result = loop.engine.step(batches, step, session.wants_stop());
    const MemoryPeaks step_memory = context().ledger->peaks();
    memory.merge(step_memory);
    skips.see(step, result, session);
    StepMetrics metrics = metrics_of(measures, step, result, now_seconds() - begin);
    metrics.memory_peak_bytes = step_memory.total();
    if (loop.add_metrics) loop.add_metrics(result, metrics);
    if (step % config.logging.interval == 0 || last)
      metrics.memory = memory_metrics(gather_peaks(world, step_memory));
    StepLoop::Verdict verdict;
    if (loop.evaluate && (last || step % config.evaluation.interval == 0) && !result.stop_requested)
      verdict = loop.evaluate(metrics);
    if (recorded) keep_timeline(role.pipeline().last_record(), loop);
    session.end_step(metrics, {.stop = result.stop_requested,
                               .is_good = std::isfinite(metrics.loss) && skips.weights_are_good(),
                               .is_best = verdict.is_best,
                               .is_done = verdict.is_done});
    if (metrics.validation_loss && !last) {
      loop.outcome.memory = gather_peaks(world, memory);
      loop.outcome.sources = loop.uses_at(metrics.samples);
      if (session.is_first()) write_run_report(config, session, loop.yaml, loop.outcome);
    }
  }
  loop.outcome.memory = gather_peaks(world, memory);
  loop.outcome.sources = loop.uses_at(loop.sizes.samples_after(session.step()));
}

std::vector<std::string> write_samples(const RunConfig& config, const Role& role,
                                       const Tokenizer& tokenizer,
                                       const std::vector<GenerateOptions>& wanted) {
  if (wanted.empty()) return {};
  const GenerationConfig& g = config.generation;
  const Decoder decoder =
      role.pipeline().decoder({.latent = g.mla, .max_sequences = g.max_sequences});
  std::vector<std::string> texts;
  for (Generated& written : generate(decoder, tokenizer, wanted))
    texts.push_back(std::move(written.text));
  return texts;
}

}  // namespace orthant
