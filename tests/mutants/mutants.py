# SPDX-License-Identifier: Apache-2.0
"""The planted bugs: what people get wrong in distributed MoE training."""
from dataclasses import dataclass


@dataclass
class Mutant:
    name: str
    file: str
    old: str  # stands once in the file
    new: str
    target: str = "test_layouts"
    filter: str = "*ExpertParallel*:*DataParallel*Reference*"


ZERO = {"filter": "*Zero*:*Fp64EqualsReference*"}

MUTANTS = [
    # Experts across ranks.
    Mutant("rows are ordered by source rank, not by expert", "moe/dispatch.cpp",
           "place_of[static_cast<size_t>(row)] = static_cast<int32_t>(arrival_of.size());\n        arrival_of.push_back(static_cast<int32_t>(row));",
           "place_of[static_cast<size_t>(row)] = static_cast<int32_t>(row);\n        arrival_of.push_back(static_cast<int32_t>(row));"),
    Mutant("a rank that sends no rows stays out of the exchange", "parallel/collectives.cpp",
           "    work = group.all_to_all(x, send_rows, y, recv_rows, site);\n", "    if (x.dim(0) > 0) work = group.all_to_all(x, send_rows, y, recv_rows, site);\n"),
    Mutant("expert gradients are summed over all ranks, not over those with the same experts", "trainer/engine.cpp",
           "ReplicaGroups{groups_.data, groups_.expert_data}", "ReplicaGroups{groups_.data, groups_.data}"),
    Mutant("expert gradients are not summed over expert-data ranks", "parallel/gradient_buffers.cpp",
           "    if (bucket.group.size() == 1) continue;", "    if (bucket.group.size() == 1 || bucket.expert) continue;"),
    Mutant("the norm counts only this rank's experts", "parallel/gradient_norm.cpp",
           "  for (size_t i = 0; i < expert_positions_.size(); ++i)\n",
           "  for (size_t i = own.size() * static_cast<size_t>(experts_.rank()); i < own.size() * static_cast<size_t>(experts_.rank() + 1); ++i)\n"),
    Mutant("expert-tensor ranks hold the same half of the inner width", "layers/linear.cpp",
           "t.begin[static_cast<size_t>(cut)] = shard.part * t.shape[cut];", "t.begin[static_cast<size_t>(cut)] = 0;"),
    Mutant("one expert-tensor rank's part of a token's gradient is lost", "moe/dispatch.cpp",
           "sent_at.push_back(row < 0 ? -1 : copies_of[static_cast<size_t>(row * parts + part)]);",
           "sent_at.push_back(row < 0 || part > 0 ? -1 : copies_of[static_cast<size_t>(row * parts + part)]);"),
    Mutant("a rank draws the initial weights of its neighbour's experts", "moe/dispatch.h",
           ".first = group.rank() / tensor_parallel_size * count,", ".first = (group.rank() / tensor_parallel_size + 1) % expert_parallel_size * count,"),
    # ZeRO-1.
    Mutant("slices are gathered a block off", "parallel/buckets.cpp",
           "  return sizes;\n", "  if (sizes.size() > 1 && sizes[0] > 4096) { sizes[0] -= 4096; sizes[1] += 4096; }\n  return sizes;\n", **ZERO),
    Mutant("slices cut a block of the norm", "parallel/buckets.cpp",
           "inside / kNormBlock * kNormBlock", "inside / 1024 * 1024", **ZERO),
    Mutant("the norm leaves out the last block of a slice", "parallel/gradient_norm.cpp",
           "i < piece.num_blocks(); ++i) squares[piece.tensor] += *block++;",
           "i < piece.num_blocks(); ++i, ++block) squares[piece.tensor] += i > 0 && i + 1 == piece.num_blocks() ? 0.0 : *block;", **ZERO),
    Mutant("a value is used before it has arrived", "parallel/parameter.cpp",
           "  if (arrivals_) arrivals_->wait(bucket_);\n", "", **ZERO),
    Mutant("packed weights of other ranks' slices are kept", "parallel/parameter_optimizer.cpp",
           "for (Parameter* parameter : gradients_.parameters()) parameter->bump_version();",
           "for (const State& state : state_) state.parameter->bump_version();", **ZERO),
    Mutant("a span decays as its neighbour does", "parallel/parameter_optimizer.cpp",
           "make_span(config, value, parameter->decays())",
           "make_span(config, value, state_.empty() || state_.back().parameter->decays())", **ZERO),
    Mutant("a checkpoint gets the moments of the wrong slice", "parallel/parameter_optimizer.cpp",
           "here.shifted(-logical.offset), here.shifted(-range.begin)", "{0, here.size()}, here.shifted(-range.begin)", **ZERO),
    Mutant("the tied head's gradient is missing in later slices", "parallel/gradient_buffers.cpp",
           "    const Tensor lookup =", "    if (owned(*entry.parameter).begin > 0) continue;\n    const Tensor lookup =", **ZERO),
    Mutant("lookup and head of a tied pair are cut differently", "parallel/buckets.cpp",
           "return parameter.tied_to() ? parameter.tied_to()->logical() : parameter.logical();", "return parameter.logical();", **ZERO),
    Mutant("one rank gathers in another order", "parallel/value_buckets.cpp",
           "  num_arrived_ = 0;\n", "  num_arrived_ = 0;\n  if (values_.size() > 1 && values_[0].bucket->group.rank() == 1) std::swap(values_[0], values_[1]);\n", **ZERO),
    # Sums and means.
    Mutant("a mean over ranks' means instead of one over tokens", "trainer/engine.cpp",
           "const double loss_scale = counts[1] > 0 ? counts[0] / counts[1] : 0.0;",
           "const double loss_scale = counts[1] > 0 ? local[0] / std::max(1.0, local[1]) : 0.0;"),
    Mutant("no gradient by the router's weights", "tensor/autograd/routing.cpp",
           "    return {drows, dweights};\n", "    ops::fill(dweights, 0.0);\n    return {drows, dweights};\n"),
    Mutant("a micro-batch is added to the wrong lane", "parallel/lanes.cpp",
           "return std::popcount(static_cast<uint64_t>(lane));", "return std::popcount(static_cast<uint64_t>(lane)) > 1 ? 1 : std::popcount(static_cast<uint64_t>(lane));"),
]
