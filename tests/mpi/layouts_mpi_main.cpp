// SPDX-License-Identifier: Apache-2.0
// Layouts under a real mpirun.  Data parallelism: weights, moments, losses and norms after three
// steps have the bits of a run on one rank, which every rank makes by itself; with ZeRO-1
// and without.  Experts on other
// ranks: what `verify layout` compares.
//   mpirun -n 2 layouts_mpi [cpu|cuda]      2, 4 or 8 ranks: they must divide the micro-batches
// Prints "ok", or what differs, and then exits with 1.
#include <cstdio>
#include <string>

#include "base/context.h"
#include "base/error.h"
#include "parallel/comm/mpi/mpi_world.h"
#include "tensor/cpu/isa.h"
#include "tests/layouts/engine_run.h"
#include "trainer/verify_layout.h"

using namespace orthant;
using namespace orthant::testing;

namespace {

// What differs between this rank's part of the run and a run alone; empty when nothing does.
std::string difference_to(const Variant& variant, const EngineOptions& options,
                          const Group& world) {
  const NamedValues got = bits_of(run_engine(variant, options, world));
  const NamedValues want = bits_of(run_engine(variant, options, Group::self()));
  const std::string difference = first_bit_difference(got, want);
  if (difference.empty()) return "";
  return concat(variant.name, " ", options.precision, ", recompute ", options.recompute, ", zero ",
                options.zero_stage, ": rank ", world.rank(), ", ", difference, "\n");
}

// One row of a step of the variant.
Batch row_of(const Variant& variant, int64_t step, int64_t row) {
  return batches_of(with_micro_batch_size(variant, 1), step)[static_cast<size_t>(row)];
}

std::string layout_differences(const Variant& variant, const Group& world) {
  std::vector<LayoutSpec> layouts;
  for (const char* cut : {"ep2", "ep4", "etp2", "ep2+etp2+recompute", "ep2+mb1", "ep2+zero0"}) {
    const LayoutSpec layout = parse_layout(concat("dp", world.size(), "+", cut));
    if (layout.expert_parallel_size * layout.expert_tensor_parallel_size <= world.size())
      layouts.push_back(layout);
  }
  for (const char* cut : {"tp2", "tp2+nosp+ep2", "tp2+ep2+recompute"})
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

int compare(const Group& world, const std::string& device) {
  std::string differences;
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
  bool equal = true;
  for (const std::string& text : world.gather_text(differences)) {
    if (world.rank() == 0 && !text.empty()) std::printf("%s", text.c_str());
    equal = equal && text.empty();
  }
  if (world.rank() == 0 && equal) std::printf("ok: %d ranks on %s\n", world.size(), device.c_str());
  return equal ? 0 : 1;
}

}  // namespace

int main(int argc, char** argv) {
  RankContext context;
  const ContextScope scope(context);
  try {
    ORTHANT_CHECK(launched_by_mpi(), kUsage, "layouts_mpi: start it with mpirun");
    const Group world = mpi_world();
    world.set_check_collectives(true);
    context.rank = world.rank();
    context.world_size = world.size();
    context.label = concat("r", world.rank());
    world.set_deadline_seconds(60);
    const int64_t level = -world.max(-static_cast<int64_t>(cpu::detected_isa()));
    cpu::limit_isa(static_cast<cpu::Isa>(level));
    const int code = compare(world, argc > 1 ? argv[1] : "cpu");
    finalize_mpi();
    return code;
  } catch (const Error& error) {
    std::fprintf(stderr, "rank %d: %s\n", context.rank, error.what());
    abort_mpi(error.exit_code());
  }
}
