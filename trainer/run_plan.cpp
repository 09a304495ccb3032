// SPDX-License-Identifier: Apache-2.0
#include "trainer/run_plan.h"

#include "base/config/config.h"
#include "base/problems.h"
#include "parallel/nearest_layouts.h"
#include "parallel/pipeline/generators.h"

namespace orthant {
namespace {

// Of a replica in the first step, which has the fewest.
int fewest_micro_batches(const RunConfig& config) {
  return static_cast<int>(config.batch.micro_batches_of_step(1) /
                          config.parallel.data_parallel_size);
}

// "batch.global_batch_size 12 / micro_batch_size 2 / data_parallel_size 2 = 3 micro-batches".
std::string micro_batches_text(const RunConfig& config) {
  const BatchConfig& b = config.batch;
  return concat(b.ramp_start > 0 ? "batch.ramp_start " : "batch.global_batch_size ",
                b.sizes().size_of_step(1), " / micro_batch_size ", b.micro_batch_size,
                " / data_parallel_size ", config.parallel.data_parallel_size, " = ",
                fewest_micro_batches(config), " micro-batches");
}

void check_optimizer(const OptimizerConfig& optimizer) {
  ORTHANT_CHECK(optimizer.betas.size() == 2, kConfig, "optimizer.betas: want two numbers, got ",
                optimizer.betas.size());
}

// All but what the number of ranks says.
void settle(RunConfig& c, int world_size) {
  if (c.run.dir.empty()) c.run.dir = "runs/" + c.run.name;
  if (c.evaluation.micro_batch_size == 0) c.evaluation.micro_batch_size = c.batch.micro_batch_size;
  if (c.schedule.total_steps == 0) c.schedule.total_steps = c.run.max_steps;
  Problems problems;
  problems.want(c.batch.sequence_length > 0,
                "batch.sequence_length: want the tokens of a sequence, got nothing");
  problems.collect([&] { c.run.validate(); });
  problems.collect([&] { c.model.resolve(c.batch.sequence_length); });
  problems.collect([&] { c.batch.validate(); });
  problems.collect([&] { resolve_routing(c.model, c.moe); });
  problems.collect([&] { c.data.validate(); });
  problems.collect([&] { c.lora.validate(); });
  problems.collect([&] { c.quantization.validate(); });
  problems.want(!c.quantization.is_on() || c.lora.is_on(),
                "quantization.format: ", quantization_names().of(c.quantization.format),
                " is of weights that stay as they are, and without lora.rank all of them train: "
                "every step would be rounded away; give lora.rank, or format none");
  problems.collect([&] { c.schedule.validate(); });
  problems.collect([&] { check_optimizer(c.optimizer); });
  if (problems.empty()) return;
  problems.collect([&] { c.parallel.resolve(world_size); });
  problems.raise();
}

// Layers of each of the pipeline's stages.
std::vector<StageLayers> split_layers(const RunConfig& config) {
  const ParallelConfig& p = config.parallel;
  const auto ranks = static_cast<int>(p.pipeline_parallel_size);
  int64_t chunks = 0;
  try {
    chunks = pipeline::settle_chunks(p.pipeline_schedule, ranks, fewest_micro_batches(config),
                                     static_cast<int>(p.pipeline_chunks));
  } catch (const Error& error) {
    throw_error(ErrorKind::kConfig, concat("parallel.pipeline_schedule: ", error.what(), " (",
                                           micro_batches_text(config), "; pipeline_parallel_size ",
                                           ranks, ", pipeline_chunks ", p.pipeline_chunks, ")"));
  }
  return split_stages(config.model, config.batch.sequence_length, ranks * static_cast<int>(chunks),
                      p.pipeline_layers);
}

// What the number of ranks says, the rest being settled; returns the layers of the stages.
std::vector<StageLayers> settle_layout(RunConfig& config, int world_size) {
  ParallelConfig& parallel = config.parallel;
  BatchConfig& batch = config.batch;
  parallel.resolve(world_size);
  const int64_t replicas = parallel.data_parallel_size;
  if (batch.global_batch_size == 0) batch.global_batch_size = batch.micro_batch_size * replicas;
  Problems problems;
  if (batch.ramp_start > 0) problems.collect([&] { batch.check_ramp(replicas); });
  problems.collect([&] { parallel.check_batch(batch.global_batch_size, batch.micro_batch_size); });
  problems.collect(
      [&] { check_layout(config.model, parallel, world_size, batch.sequence_length); });
  std::vector<StageLayers> layers;
  if (problems.empty()) problems.collect([&] { layers = split_layers(config); });
  problems.raise();
  return layers;
}

}  // namespace

void check_layout(const ModelConfig& model, const ParallelConfig& parallel, int world_size,
                  int64_t sequence_length) {
  Problems problems;
  problems.collect([&] {
    parallel.check_model(world_size, {.heads = model.num_attention_heads,
                                      .kv_heads = model.num_key_value_heads,
                                      .experts = model.n_routed_experts,
                                      .expert_width = model.moe_intermediate_size,
                                      .sequence_length = sequence_length});
  });
  // A norm over all heads of a token would be a sum over the ranks that share them.
  const int64_t ranks = parallel.tensor_parallel_size;
  problems.want(!model.use_qk_norm || model.qk_norm_type != QkNorm::kPerLayer || ranks == 1,
                "parallel.tensor_parallel_size: ", ranks, " ranks cannot share heads that are ",
                "normed as one (model.qk_norm_type per_layer); want 1");
  problems.raise();
}

RunPlan::RunPlan(const RunConfig& given, int world_size)
    : given_(given), config_(given), world_size_(world_size) {
  settle(config_, world_size);
  const RunConfig open = config_;
  Problems problems;
  problems.collect([&] { stage_layers_ = settle_layout(config_, world_size); });
  if (problems.empty()) return;
  const std::string nearest =
      nearest_layouts(open.parallel, world_size, [&](ParallelConfig& layout, int ranks) {
        RunConfig other = open;
        other.parallel = layout;
        settle_layout(other, ranks);
        layout = other.parallel;
      });
  if (!nearest.empty()) problems.add(nearest);
  problems.raise();
}

std::string RunPlan::yaml() const { return to_yaml(open_config()); }

RunConfig RunPlan::open_config() const {
  RunConfig open = config_;
  open.parallel.data_parallel_size = given_.parallel.data_parallel_size;
  open.schedule.total_steps = given_.schedule.total_steps;
  return open;
}

RunPlan RunPlan::with_schedule_end(int64_t total_steps) const {
  RunPlan other = *this;
  other.config_.schedule.total_steps = total_steps;
  return other;
}

int64_t RunPlan::reduction_lanes() const {
  return config_.run.determinism == Determinism::kLayout ? config_.run.reduction_lanes : 1;
}

std::string RunPlan::pipeline_text() const {
  std::string text;
  for (const StageLayers& stage : stage_layers_)
    text += concat(text.empty() ? "" : ", ", stage.end - stage.begin);
  const ParallelConfig& p = config_.parallel;
  return concat(p.pipeline_schedule, ", ", stage_layers_.size(), " stages of ", text, " layers",
                p.pipeline_layers.empty() ? ", balanced by operations" : "");
}

}  // namespace orthant
