// SPDX-License-Identifier: Apache-2.0
#include "trainer/run_loop.h"

#include "base/durable_file.h"
#include "base/error.h"
#include "base/log.h"
#include "trainer/device.h"
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

double peak_of_all(const RunConfig& config, Device device, const Group& world) {
  return world.sum(config.logging.peak_tflops > 0 ? config.logging.peak_tflops * 1e12
                                                  : measure_product_rate(config.precision, device));
}

void keep_tokenizer(const RunSession& session, const Tokenizer& tokenizer) {
  if (!session.is_first()) return;
  for (const ModelFile& file : tokenizer.model_files())
    replace_file(session.paths().file(file.name), file.content);
}

bool records_step(const RunConfig& config, const RunSession& session, int64_t step) {
  return config.parallel.pipeline_parallel_size > 1 &&
         (session.is_last(step) || step == session.first_step() + 1);
}

std::optional<PipelineRecord> keep_timeline(const PipelineRecord& record,
                                            const RunSession& session) {
  if (!session.is_first()) return std::nullopt;
  try {
    replace_file(session.paths().pipeline(), to_json(record));
  } catch (const Error& error) {
    log::warn("the pipeline's timeline of step ", record.step, " is not kept: ", error.what());
  }
  return record;
}

}  // namespace orthant
