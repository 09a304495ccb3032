// SPDX-License-Identifier: Apache-2.0
#include "parallel/config.h"

#include <algorithm>
#include <functional>
#include <initializer_list>
#include <numeric>

#include "base/error.h"
#include "parallel/context/sequence_split.h"
#include "parallel/context/ulysses_attention.h"
#include "parallel/pipeline/generators.h"

namespace orthant {
namespace {

// "1, 2, 4": what divides all of `numbers`.
std::string common_divisors(std::initializer_list<int64_t> numbers) {
  std::string text;
  for (int64_t d = 1; d <= *numbers.begin(); ++d) {
    if (std::all_of(numbers.begin(), numbers.end(), [d](int64_t n) { return n % d == 0; }))
      text += concat(text.empty() ? "" : ", ", d);
  }
  return text;
}
std::string divisors(int64_t number) { return common_divisors({number}); }

// "8 or 16": the multiples below and above.
std::string multiples_beside(int64_t number, int64_t unit) {
  const int64_t below = number / unit * unit;
  return below > 0 ? concat(below, " or ", below + unit) : concat(unit);
}

// "1, 2": sizes for which `fits`.
std::string sizes_that_fit(int64_t most, const std::function<bool(int64_t)>& fits) {
  std::string text;
  for (int64_t size = 1; size <= most; ++size)
    if (fits(size)) text += concat(text.empty() ? "" : ", ", size);
  return text;
}

}  // namespace

const EnumNames<Recompute>& recompute_names() {
  static const EnumNames<Recompute> names = {
      {Recompute::kNone, "none"}, {Recompute::kSelective, "selective"}, {Recompute::kFull, "full"}};
  return names;
}

const EnumNames<ContextKind>& context_kind_names() {
  static const EnumNames<ContextKind> names = {{ContextKind::kRing, "ring"},
                                               {ContextKind::kUlysses, "ulysses"}};
  return names;
}

void ParallelConfig::fields(FieldVisitor& v) {
  v.field("data_parallel_size", data_parallel_size, at_least(0),
          "replicas that share a step's micro-batches; 0 = what the number of ranks leaves");
  v.field("zero_stage", zero_stage, between(0, 1),
          "1: masters and moments are shared out over data-parallel ranks; 0: every rank has all");
  v.field("tensor_parallel_size", tensor_parallel_size, at_least(1),
          "ranks that share the heads and the inner widths of every layer, and the vocabulary");
  v.field("sequence_parallel", sequence_parallel,
          "tensor-parallel ranks keep rows of their own between the blocks, instead of all rows");
  v.field("pipeline_parallel_size", pipeline_parallel_size, at_least(1),
          "ranks that hold one stage of the layers, or several, each");
  v.field("pipeline_schedule", pipeline_schedule, one_of(pipeline::schedule_names()),
          "order of forwards and backwards of the stages (docs/pipeline.md)");
  v.field("pipeline_chunks", pipeline_chunks, at_least(0),
          "stages of a rank; 0 = as many as the schedule has by itself (interleaved and dualpipev "
          "2, others 1)");
  v.field("pipeline_layers", pipeline_layers, at_least(1),
          "layers of each stage, in order; empty: balanced by operations");
  v.field("context_parallel_size", context_parallel_size, at_least(1),
          "ranks that share the tokens of every sequence");
  v.field("context_parallel_kind", context_parallel_kind, context_kind_names(),
          "ring: keys and values go round; ulysses: tokens go to the ranks of their heads");
  v.field("expert_parallel_size", expert_parallel_size, at_least(1),
          "ranks that share the routed experts of a layer");
  v.field("expert_tensor_parallel_size", expert_tensor_parallel_size, at_least(1),
          "ranks that share the inner width of each routed expert");
  v.field("recompute", recompute, recompute_names(),
          "what backward computes again (docs/memory.md): selective: norms, activations and copies "
          "of rows; full: whole layers, of which only the inputs are kept");
  v.field("recompute_layers", recompute_layers, at_least(0),
          "layers of each stage, from its first on, that recompute is for; 0 = all");
  v.field("bucket_bytes", bucket_bytes, at_least(1),
          "gradients that are reduced at once, in bytes of their sums");
  v.field("timeout_seconds", timeout_seconds, positive(), "deadline of every collective operation");
  v.field("device_transport", device_transport,
          {{DeviceTransport::kAuto, "auto"},
           {DeviceTransport::kStaged, "staged"},
           {DeviceTransport::kNccl, "nccl"}},
          "tensors of devices travel directly (nccl) or through host memory (staged); auto: nccl "
          "unless ranks share a device");
  v.field("check_collectives", check_collectives,
          "ranks agree on every collective before it moves data: slower, and names both sides of a "
          "mismatch");
  v.alias("dp", "data_parallel_size");
  v.alias("tp", "tensor_parallel_size");
  v.alias("tensor_model_parallel_size", "tensor_parallel_size");
  v.alias("pp", "pipeline_parallel_size");
  v.alias("pipeline_model_parallel_size", "pipeline_parallel_size");
  v.alias("cp", "context_parallel_size");
  v.alias("ep", "expert_parallel_size");
  v.alias("etp", "expert_tensor_parallel_size");
  v.alias("expert_model_parallel_size", "expert_parallel_size");
}

std::string ParallelConfig::text() const {
  std::string text = concat("dp ", data_parallel_size);
  if (tensor_parallel_size > 1)
    text += concat(", tp ", tensor_parallel_size, sequence_parallel ? "" : " without sp");
  if (pipeline_parallel_size > 1)
    text += concat(", pp ", pipeline_parallel_size, " (", pipeline_schedule, ")");
  if (context_parallel_size > 1)
    text += concat(", cp ", context_parallel_size, " (",
                   context_kind_names().of(context_parallel_kind), ")");
  if (expert_parallel_size > 1) text += concat(", ep ", expert_parallel_size);
  if (expert_tensor_parallel_size > 1) text += concat(", etp ", expert_tensor_parallel_size);
  return text;
}

void ParallelConfig::resolve(int world_size) {
  const int64_t replica = ranks_per_replica();
  ORTHANT_CHECK(world_size % replica == 0, kConfig, "parallel: a replica of the model takes ",
                replica_text(), " = ", replica, " ranks, which does not divide ", world_size,
                world_size == 1 ? " rank" : " ranks", "; it can take ", divisors(world_size),
                ", or start a multiple of ", replica, " ranks (orthant launch -n ", replica, ")");
  const int64_t left = world_size / replica;
  ORTHANT_CHECK(data_parallel_size == 0 || data_parallel_size == left, kConfig,
                "parallel.data_parallel_size: want what the number of ranks leaves, ", world_size,
                " / ", replica, " = ", left, ", got ", data_parallel_size,
                "; start it with orthant launch -n ", data_parallel_size * replica,
                ", or leave the key out");
  data_parallel_size = left;
}

int ParallelConfig::least_ranks() const {
  if (data_parallel_size > 0) return static_cast<int>(data_parallel_size * ranks_per_replica());
  const int64_t experts = expert_parallel_size * expert_tensor_parallel_size;
  return static_cast<int>(pipeline_parallel_size *
                          std::lcm(tensor_parallel_size * context_parallel_size, experts));
}

std::string ParallelConfig::replica_text() const {
  return concat("tensor_parallel_size ", tensor_parallel_size, " x context_parallel_size ",
                context_parallel_size, " x pipeline_parallel_size ", pipeline_parallel_size);
}

void ParallelConfig::check_batch(int64_t global_batch_size, int64_t micro_batch_size) const {
  const int64_t micro_batches = global_batch_size / micro_batch_size;
  const int64_t ranks = std::max<int64_t>(1, data_parallel_size);  // 0: not resolved, for a reason
  if (micro_batches % ranks == 0) return;
  int64_t below = ranks, above = ranks;
  while (micro_batches % below != 0) --below;
  while (above <= micro_batches && micro_batches % above != 0) ++above;
  const std::string nearest = above <= micro_batches ? concat(below, " or ", above) : concat(below);
  const int64_t each = ranks_per_replica(), unit = ranks * micro_batch_size;
  const char* who = each == 1 ? " ranks" : " replicas";
  throw_error(ErrorKind::kConfig,
              concat("batch.global_batch_size: ", global_batch_size, " / micro_batch_size ",
                     micro_batch_size, " = ", micro_batches, " micro-batches, which ", ranks, who,
                     each == 1 ? "" : concat(" (each ", each, " ranks)"),
                     " cannot share evenly; the nearest numbers of", who, " that can: ", nearest,
                     "; the nearest batches: ", multiples_beside(global_batch_size, unit)));
}

void ParallelConfig::check_model(int world_size, const ModelSizes& model) const {
  check_heads(model);
  check_context(model);
  check_experts(world_size, model);
}

void ParallelConfig::check_heads(const ModelSizes& model) const {
  const int64_t tp = tensor_parallel_size, heads = model.heads, kv = model.kv_heads;
  ORTHANT_CHECK(heads % tp == 0, kConfig, "parallel.tensor_parallel_size: ", tp,
                " does not divide model.num_attention_heads ", heads, "; it can be ",
                divisors(heads));
  ORTHANT_CHECK(kv % tp == 0 || tp % kv == 0, kConfig, "parallel.tensor_parallel_size: ", tp,
                " ranks cannot share model.num_key_value_heads ", kv,
                ": one must divide the other; it can be ", sizes_that_fit(heads, [&](int64_t n) {
                  return heads % n == 0 && (kv % n == 0 || n % kv == 0);
                }));
}

void ParallelConfig::check_context(const ModelSizes& model) const {
  const auto cp = static_cast<int>(context_parallel_size);
  const std::string length = SequenceSplit::why_not(model.sequence_length, cp);
  ORTHANT_CHECK(length.empty(), kConfig, "parallel.context_parallel_size: ", length,
                " (batch.sequence_length); or let it be ", sizes_that_fit(cp, [&](int64_t n) {
                  return SequenceSplit::why_not(model.sequence_length, static_cast<int>(n)).empty();
                }));
  if (context_parallel_kind != ContextKind::kUlysses) return;
  const int64_t tp = tensor_parallel_size;
  const std::string heads =
      why_not_ulysses(model.heads / tp, std::max<int64_t>(1, model.kv_heads / tp), cp);
  ORTHANT_CHECK(heads.empty(), kConfig, "parallel.context_parallel_kind: ulysses: ", heads,
                tp > 1 ? concat(" (of each of ", tp, " tensor-parallel ranks)") : "",
                "; context_parallel_size can be ",
                common_divisors({model.heads / tp, std::max<int64_t>(1, model.kv_heads / tp)}));
}

void ParallelConfig::check_experts(int world_size, const ModelSizes& model) const {
  const int64_t ep = expert_parallel_size, etp = expert_tensor_parallel_size;
  if (model.experts == 0) {
    ORTHANT_CHECK(ep == 1 && etp == 1, kConfig,
                  "parallel.expert_parallel_size: the model has no experts "
                  "(model.n_routed_experts is 0), got ",
                  ep, " x expert_tensor_parallel_size ", etp, "; leave both at 1");
    return;
  }
  const int64_t stage = world_size / pipeline_parallel_size;  // ranks that share a stage's experts
  const char* ranks = pipeline_parallel_size > 1 ? " ranks of a stage" : " ranks";
  ORTHANT_CHECK(
      stage % (ep * etp) == 0, kConfig, "parallel.",
      ep > 1 ? "expert_parallel_size: " : "expert_tensor_parallel_size: ", ep > 1 ? ep : etp,
      ep > 1 && etp > 1 ? concat(" x expert_tensor_parallel_size ", etp, " = ", ep * etp) : "",
      " does not divide ", stage, stage == 1 ? " rank" : ranks, "; start ", ep * etp,
      " ranks or a multiple (orthant launch -n ", ep * etp, "), or let ",
      ep > 1 && etp > 1 ? "the product" : "it", " be one of ", divisors(stage));
  ORTHANT_CHECK(model.experts % ep == 0, kConfig, "parallel.expert_parallel_size: ", ep,
                " does not divide model.n_routed_experts ", model.experts, "; with ", stage, ranks,
                " it can be ", common_divisors({stage, model.experts}));
  ORTHANT_CHECK(model.expert_width % etp == 0, kConfig,
                "parallel.expert_tensor_parallel_size: ", etp,
                " does not divide model.moe_intermediate_size ", model.expert_width, "; with ",
                stage, ranks, " it can be ", common_divisors({stage, model.expert_width}));
}

}  // namespace orthant
