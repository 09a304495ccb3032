// SPDX-License-Identifier: Apache-2.0
#include "trainer/run_config.h"

#include <algorithm>
#include <cmath>

#include "base/config/config.h"
#include "base/problems.h"
#include "parallel/nearest_layouts.h"

namespace orthant {

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

RunConfig RunConfig::resolved(int world_size) const {
  RunConfig config = *this;
  config.settle(world_size);
  return config;
}

void RunConfig::settle(int world_size) {
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
  problems.collect([&] { run.validate(); });
  problems.collect([&] { model.resolve(batch.sequence_length); });
  problems.collect([&] { batch.validate(); });
  problems.collect([&] { resolve_routing(model, moe); });
  problems.collect([&] { data.validate(); });
  problems.collect([&] { schedule.validate(); });
  problems.collect([&] {
    ORTHANT_CHECK(optimizer.betas.size() == 2, kConfig, "optimizer.betas: want two numbers, got ",
                  optimizer.betas.size());
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
