// SPDX-License-Identifier: Apache-2.0
#include "trainer/run_config.h"

#include <algorithm>
#include <cmath>

#include "base/config/config.h"
#include "base/problems.h"
#include "parallel/nearest_layouts.h"

namespace orthant {

void RunSection::fields(FieldVisitor& v) {
  v.may_change_on_resume([&] {
    v.field("name", name, required_text(), "name of the run");
    v.field("dir", dir, any_path(), "run directory; empty: runs/NAME");
  });
  v.field("seed", seed, at_least(0), "seed of initial weights, data order, dropout and samples");
  v.may_change_on_resume([&] {
    v.field("max_steps", max_steps, at_least(0), "optimizer steps; may grow when a run is resumed");
    v.field("resume", resume, one_of({"auto", "never"}),
            "auto: go on from the newest valid checkpoint; never: refuse an existing run");
    v.field("accept_changes", accept_changes,
            "go on even where the configuration differs from the checkpoint's");
  });
  v.field(
      "determinism", determinism, one_of({"layout", "run", "none"}),
      "layout: every data-parallel size that divides the lanes gives the same bits; run, none: "
      "a rank adds its micro-batches as one lane; none: on CUDA the gradient of attention may be "
      "summed in any order");
  v.field("reduction_lanes", reduction_lanes, between(1, 65536),
          "largest number of lanes that gradients are summed in");
  v.alias("max_iters", "max_steps");
  v.alias("train_iters", "max_steps");
  v.alias("output_dir", "dir");
}

void BatchConfig::fields(FieldVisitor& v) {
  v.field("micro_batch_size", micro_batch_size, at_least(1),
          "sequences that a rank computes at once");
  v.field("global_batch_size", global_batch_size, at_least(0),
          "sequences of an optimizer step; 0 = one micro-batch a data-parallel rank");
  v.field("sequence_length", sequence_length, at_least(1), "tokens of a sequence");
  v.field("ramp_start", ramp_start, at_least(0),
          "sequences of the first step, where the batch grows to global_batch_size; 0 = no ramp");
  v.field("ramp_increment", ramp_increment, at_least(0), "sequences by which the batch grows");
  v.field("ramp_samples", ramp_samples, between(0, int64_t{1} << 40),
          "sequences over which the batch grows, in equal parts");
  v.alias("per_device_train_batch_size", "micro_batch_size");
  v.alias("train_batch_size", "global_batch_size");
  v.alias("seq_length", "sequence_length");
  v.alias("cutoff_len", "sequence_length");
}

void BatchConfig::validate() const {
  const int64_t below = global_batch_size / micro_batch_size * micro_batch_size;
  ORTHANT_CHECK(global_batch_size % micro_batch_size == 0, kConfig,
                "batch.global_batch_size: ", global_batch_size,
                " is no multiple of micro_batch_size ", micro_batch_size,
                "; the nearest: ", below > 0 ? concat(below, " or ") : "",
                below + micro_batch_size);
  if (ramp_start == 0 && ramp_increment == 0 && ramp_samples == 0) return;
  ORTHANT_CHECK(ramp_start > 0 && ramp_increment > 0 && ramp_samples > 0, kConfig,
                "batch: a ramp wants ramp_start, ramp_increment and ramp_samples, got ", ramp_start,
                ", ", ramp_increment, " and ", ramp_samples);
  ORTHANT_CHECK(
      ramp_start < global_batch_size && (global_batch_size - ramp_start) % ramp_increment == 0,
      kConfig, "batch.ramp_increment: want a whole number of them from ramp_start ", ramp_start,
      " to global_batch_size ", global_batch_size, ", got ", ramp_increment);
}

void BatchConfig::check_ramp(int64_t replicas) const {
  const int64_t unit = micro_batch_size * replicas;
  ORTHANT_CHECK(ramp_start % unit == 0 && ramp_increment % unit == 0, kConfig,
                "batch.ramp_start, batch.ramp_increment: want multiples of micro_batch_size ",
                micro_batch_size, " x ", replicas, " replicas = ", unit, ", got ", ramp_start,
                " and ", ramp_increment,
                "; every batch of the ramp must be shared evenly, the "
                "nearest: ",
                std::max<int64_t>(1, ramp_start / unit) * unit, " and ",
                std::max<int64_t>(1, ramp_increment / unit) * unit);
}

void EvaluationConfig::fields(FieldVisitor& v) {
  v.field("interval", interval, at_least(0),
          "steps between evaluations, the last step included; 0 = never");
  v.field("tokens", tokens, at_least(0), "validation tokens to use; 0 = all");
  v.field("micro_batch_size", micro_batch_size, at_least(0),
          "sequences at once; 0 = batch.micro_batch_size");
  v.alias("eval_steps", "interval");
  v.alias("eval_interval", "interval");
}

void CheckpointConfig::fields(FieldVisitor& v) {
  v.field("interval", interval, at_least(0), "steps between checkpoints; 0 = only the last step");
  v.field("keep", keep, at_least(2), "checkpoints to keep; the newest valid one is never removed");
  v.field("async", asynchronous,
          "write in the background: a step waits for a copy, not for the disk");
  v.alias("save_steps", "interval");
  v.alias("save_interval", "interval");
}

void LoggingConfig::fields(FieldVisitor& v) {
  v.field("interval", interval, at_least(1), "steps between progress lines");
  v.field("progress", progress, one_of({"auto", "off"}),
          "auto: a bar on a terminal, lines elsewhere");
  v.field("tensorboard", tensorboard,
          "write the numbers of metrics.jsonl for TensorBoard too (events.out.tfevents.*)");
  v.field("peak_tflops", peak_tflops, non_negative(),
          "peak of one rank for MFU, in TFLOP/s; 0 = the rate of matrix products measured at the "
          "start");
  v.alias("log_interval", "interval");
  v.alias("logging_steps", "interval");
}

void SamplingConfig::fields(FieldVisitor& v) {
  v.field("max_new_tokens", max_new_tokens, at_least(1), "tokens to generate");
  v.field("temperature", temperature, non_negative(), "0 = always the likeliest token");
  v.field("top_k", top_k, at_least(0), "draw from the k likeliest tokens; 0 = all");
  v.field("top_p", top_p, RealBounds{.low = 0.0, .high = 1.0, .low_open = true},
          "draw from the smallest set with this probability");
}

void GenerationConfig::fields(FieldVisitor& v) {
  v.field("prompt", prompt, any_text(), "prompt of the samples at the end of a run");
  sampling.fields(v);
  v.field("samples", samples, at_least(0), "samples at the end of a run");
}

void RunConfig::fields(FieldVisitor& v) {
  v.may_change_on_resume([&] {
    v.field("device", device, one_of({"cpu", "cuda", "auto"}), "where the model runs");
  });
  v.field("precision", precision, one_of({"fp64", "fp32", "bf16"}),
          "of weights and activations; sums and master weights are wider");
  const auto block = [&v](const char* name, const char* help, auto& section) {
    v.block(name, help, [&section](FieldVisitor& inner) { section.fields(inner); });
  };
  block("run", "the run itself", run);
  block("model", "the model, in the key names of a Hugging Face config.json", model);
  block("moe", "routing and balance of the experts", moe);
  v.may_change_on_resume([&] { block("parallel", "how the ranks share the work", parallel); });
  block("batch", "batch sizes", batch);
  block("data", "training and validation data", data);
  block("optimizer", "how weights are updated", optimizer);
  block("schedule", "the learning rate over the steps", schedule);
  v.may_change_on_resume([&] {
    block("evaluation", "validation loss during the run", evaluation);
    block("checkpoint", "what is saved, and when", checkpoint);
    block("logging", "what is printed", logging);
    block("generation", "samples", generation);
  });
}

namespace {

// Micro-batches of a pipeline in a step, and the sum: "batch.global_batch_size 12 /
// micro_batch_size 2 / data_parallel_size 2 = 3".
int micro_batches_of(const RunConfig& config, int64_t step) {
  return static_cast<int>(config.batch.micro_batches_of_step(step) /
                          config.parallel.data_parallel_size);
}
std::string micro_batches_text(const RunConfig& config) {
  const BatchConfig& b = config.batch;
  return concat(b.ramp_start > 0 ? "batch.ramp_start " : "batch.global_batch_size ",
                b.sizes().size_of_step(1), " / micro_batch_size ", b.micro_batch_size,
                " / data_parallel_size ", config.parallel.data_parallel_size, " = ",
                micro_batches_of(config, 1), " micro-batches");
}

// Error(kConfig) when the layers or the micro-batches, which are fewest in the first step, do not
// suffice for the pipeline.
void check_pipeline(const RunConfig& config) {
  const ParallelConfig& p = config.parallel;
  const auto ranks = static_cast<int>(p.pipeline_parallel_size);
  int64_t chunks = 0;
  try {
    chunks = pipeline::settle_chunks(p.pipeline_schedule, ranks, micro_batches_of(config, 1),
                                     static_cast<int>(p.pipeline_chunks));
  } catch (const Error& error) {
    throw_error(ErrorKind::kConfig, concat("parallel.pipeline_schedule: ", error.what(), " (",
                                           micro_batches_text(config), "; pipeline_parallel_size ",
                                           ranks, ", pipeline_chunks ", p.pipeline_chunks, ")"));
  }
  stage_layers(config, ranks * static_cast<int>(chunks));
}

}  // namespace

std::vector<StageLayers> stage_layers(const RunConfig& config, int stages) {
  std::vector<int64_t> given;
  for (const double n : config.parallel.pipeline_layers) {
    ORTHANT_CHECK(n == std::floor(n), kConfig, "parallel.pipeline_layers: want whole numbers, got ",
                  n);
    given.push_back(static_cast<int64_t>(n));
  }
  return split_stages(config.model, config.batch.sequence_length, stages, given);
}

std::string pipeline_text(const RunConfig& config) {
  const std::vector<StageLayers> stages =
      stage_layers(config, make_step_schedule(config, 1).stages());
  std::string text;
  for (const StageLayers& stage : stages)
    text += concat(text.empty() ? "" : ", ", stage.end - stage.begin);
  return concat(config.parallel.pipeline_schedule, ", ", stages.size(), " stages of ", text,
                " layers",
                config.parallel.pipeline_layers.empty() ? ", balanced by operations" : "");
}

pipeline::Schedule make_step_schedule(const RunConfig& config, int64_t step) {
  const ParallelConfig& p = config.parallel;
  return pipeline::make_schedule(p.pipeline_schedule, static_cast<int>(p.pipeline_parallel_size),
                                 micro_batches_of(config, step),
                                 static_cast<int>(p.pipeline_chunks));
}

void RunConfig::resolve(int world_size) {
  Problems problems;
  if (run.dir.empty()) run.dir = "runs/" + run.name;
  if (parallel.data_parallel_size == 0) replicas_follow_ranks = true;
  if (evaluation.micro_batch_size == 0) evaluation.micro_batch_size = batch.micro_batch_size;
  if (schedule.total_steps == 0) {
    schedule.total_steps = run.max_steps;
    schedule.follows_max_steps = true;
  }
  problems.collect([&] {
    ORTHANT_CHECK(batch.sequence_length > 0, kConfig,
                  "batch.sequence_length: want the tokens of a sequence, got nothing");
  });
  problems.collect([&] {
    ORTHANT_CHECK(run.max_steps > 0, kConfig,
                  "run.max_steps: want the number of steps, got nothing");
  });
  problems.collect([&] { model.resolve(batch.sequence_length); });
  problems.collect([&] { batch.validate(); });
  problems.collect([&] { resolve_routing(model, moe); });
  problems.collect([&] { data.validate(); });
  problems.collect([&] { schedule.validate(); });
  problems.collect([&] {
    ORTHANT_CHECK(optimizer.betas.size() == 2, kConfig, "optimizer.betas: want two numbers, got ",
                  optimizer.betas.size());
  });
  problems.collect([&] {
    const bool plain = run.name.find_first_not_of(
                           "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789._-") ==
                       std::string::npos;
    ORTHANT_CHECK(plain && run.name != "." && run.name != "..", kConfig,
                  "run.name: want letters, digits, '.', '_' and '-', got '", run.name,
                  "'; run.dir may be any path");
  });
  if (!problems.empty()) {
    problems.collect([&] { parallel.resolve(world_size); });
    problems.raise();
  }
  const RunConfig given = *this;
  problems.collect([&] { settle_layout(world_size); });
  if (!problems.empty()) {
    const std::string nearest =
        nearest_layouts(given.parallel, world_size, [&given](ParallelConfig& layout, int ranks) {
          RunConfig other = given;
          other.parallel = layout;
          other.settle_layout(ranks);
          layout = other.parallel;
        });
    if (!nearest.empty()) problems.add(nearest);
    problems.raise();
  }
}

void RunConfig::settle_layout(int world_size) {
  parallel.resolve(world_size);
  const int64_t replicas = parallel.data_parallel_size;
  if (batch.global_batch_size == 0) batch.global_batch_size = batch.micro_batch_size * replicas;
  Problems problems;
  if (batch.ramp_start > 0) problems.collect([&] { batch.check_ramp(replicas); });
  problems.collect([&] { parallel.check_batch(batch.global_batch_size, batch.micro_batch_size); });
  problems.collect([&] {
    parallel.resolve_model(world_size, {.heads = model.num_attention_heads,
                                        .kv_heads = model.num_key_value_heads,
                                        .experts = model.n_routed_experts,
                                        .expert_width = model.moe_intermediate_size,
                                        .sequence_length = batch.sequence_length});
  });
  if (problems.empty()) problems.collect([&] { check_pipeline(*this); });
  problems.raise();
}

std::string RunConfig::yaml() const {
  RunConfig open = *this;
  if (replicas_follow_ranks) open.parallel.data_parallel_size = 0;
  if (schedule.follows_max_steps) open.schedule.total_steps = 0;
  return to_yaml(open);
}

DType RunConfig::dtype() const {
  if (precision == "fp64") return DType::kF64;
  return precision == "fp32" ? DType::kF32 : DType::kBF16;
}

}  // namespace orthant
