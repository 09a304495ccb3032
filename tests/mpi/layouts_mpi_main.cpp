// SPDX-License-Identifier: Apache-2.0
// Layouts under a real mpirun.  Data parallelism: weights, moments, losses and norms after three
// steps have the bits of a run on one rank, which every rank makes by itself; with ZeRO-1 and
// without.  Experts and heads on other ranks: what `verify layout` compares.  Decoding over
// pipelines and experts on other ranks: the bits of one rank.
//   mpirun -n 2 layouts_mpi [cpu|cuda]      2, 4 or 8 ranks: they must divide the micro-batches
// Prints "ok", or what differs, and then exits with 1.
#include <algorithm>
#include <string>

#include "tests/layouts/decoding_run.h"
#include "tests/mpi/mpi_test.h"
#include "trainer/verify_layout.h"

using namespace orthant;
using namespace orthant::testing;

namespace {

// What differs between this rank's part of the run and a run alone; empty when nothing does.
std::string difference_to(const Variant& variant, const LayoutOptions& options,
                          const Group& world) {
  const NamedValues got = bits_of(run_engine(variant, options, world));
  const NamedValues want = bits_of(run_engine(variant, options, Group::self()));
  const std::string difference = first_bit_difference(got, want);
  if (difference.empty()) return "";
  return concat(variant.name, " ", options.precision, ", recompute ", options.recompute, ", zero ",
                options.zero_stage, ": rank ", world.rank(), ", ", difference, "\n");
}

// One row of a step of the variant.
MicroBatch row_of(const Variant& variant, int64_t step, int64_t row) {
  return batches_of(with_micro_batch_size(variant, 1), step)[static_cast<size_t>(row)];
}

std::string layout_differences(const Variant& variant, const Group& world) {
  std::vector<LayoutSpec> layouts;
  for (const char* cut : {"ep2", "ep4", "etp2", "ep2+etp2+recompute", "ep2+mb1", "ep2+zero0"}) {
    const LayoutSpec layout = parse_layout(concat("dp", world.size(), "+", cut));
    if (layout.expert_parallel_size * layout.expert_tensor_parallel_size <= world.size())
      layouts.push_back(layout);
  }
  for (const char* cut : {"tp2+ep2+recompute"})
    layouts.push_back(parse_layout(concat("dp", world.size() / 2, "+", cut)));
  std::string differences;
  verify_layouts(
      variant.config, [&](int64_t step, int64_t row) { return row_of(variant, step, row); },
      {.layouts = layouts}, world,
      [&](const LayoutVerdict& verdict) {
        for (const LayoutMeasure& m : verdict.measures)
          if (!m.passed())
            differences += concat(variant.name, " ", verdict.layout.text, ": ", m.name, " ",
                                  m.tensor, " differs by ", m.difference, "\n");
      });
  return differences;
}

std::string decoding_differences(const Group& world) {
  const Variant variant = with_micro_batches(find_variant("moe_deep"), 16);
  const int64_t ranks = world.size(), half = ranks / 2;
  const Written want = write_on(variant, {.precision = "fp32"}, Group::self());
  std::string differences;
  for (LayoutOptions options : std::vector<LayoutOptions>{
           {.pipeline_parallel_size = ranks},
           {.pipeline_parallel_size = std::max<int64_t>(2, half),
           .pipeline_schedule = "interleaved"},
           {.pipeline_parallel_size = std::max<int64_t>(2, half), .pipeline_schedule = "dualpipev"},
           {.pipeline_parallel_size = 2, .expert_parallel_size = half}}) {
    options.precision = "fp32";
    const Written got = write_on(variant, options, world);
    const bool chooses = !got.logits.front().empty();
    if (got.tokens != want.tokens || (chooses && got.logits != want.logits))
      differences +=
          concat("decoding, pp ", options.pipeline_parallel_size, " ", options.pipeline_schedule,
                 ", ep ", options.expert_parallel_size, ": rank ", world.rank(), " differs\n");
  }
  return differences;
}

std::string compare(const Group& world, const std::string& device) {
  std::string differences = device == "cpu" ? decoding_differences(world) : "";
  for (const char* name : {"moe", "moe_deep", "moe_v2", "moe_v3"}) {
    Variant variant = find_variant(name);
    variant.config.device = device;
    variant.config.run.max_steps = 20;
    differences += layout_differences(variant, world);
  }
  for (const char* name :
       {"dense_gqa", "dense_tied_deep", "moe", "moe_normalized_tied", "moe_v2", "moe_v3"}) {
    Variant variant = find_variant(name);
    variant.config.device = device;
    for (const char* precision : {"fp64", "fp32", "bf16"})
      differences += difference_to(variant, {.precision = precision}, world);
    differences += difference_to(variant, {.precision = "bf16", .recompute = "full"}, world);
    for (const char* precision : {"fp32", "bf16"})
      differences += difference_to(variant, {.precision = precision, .zero_stage = 0}, world);
    differences += difference_to(variant, {.precision = "fp32", .optimizer = "sgd"}, world);
  }
  return differences;
}

}  // namespace

int main(int argc, char** argv) {
  const std::string device = argc > 1 ? argv[1] : "cpu";
  return run_mpi_test("layouts_mpi", [&](const Group& world) { return compare(world, device); });
}
