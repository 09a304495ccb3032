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


MUTANTS = [
    # Experts across ranks.
    Mutant("rows are ordered by source rank, not by expert", "moe/dispatch.cpp",
           "place_of[static_cast<size_t>(row)] = static_cast<int32_t>(arrival_of.size());\n        arrival_of.push_back(static_cast<int32_t>(row));",
           "place_of[static_cast<size_t>(row)] = static_cast<int32_t>(row);\n        arrival_of.push_back(static_cast<int32_t>(row));"),
    Mutant("a rank that sends no rows stays out of the exchange", "parallel/collectives.cpp",
           "    work = group.all_to_all(x, send_rows, y, recv_rows, site);\n", "    if (x.dim(0) > 0) work = group.all_to_all(x, send_rows, y, recv_rows, site);\n"),
    Mutant("expert gradients are summed over all ranks, not over those with the same experts", "trainer/engine.cpp",
           "GradientBuffers::Groups{groups_.data, groups_.expert_data}", "GradientBuffers::Groups{groups_.data, groups_.data}"),
    Mutant("expert gradients are not summed over expert-data ranks", "parallel/gradient_buffers.cpp",
           "const Group& group = bucket.expert ? groups_.expert : groups_.dense;\n    if (group.size() > 1)",
           "const Group& group = bucket.expert ? groups_.expert : groups_.dense;\n    if (group.size() > 1 && !bucket.expert)"),
    Mutant("the norm counts only this rank's experts", "parallel/parameter_optimizer.cpp",
           "  for (int64_t i = 0; i < all.numel(); ++i)", "  for (int64_t i = count * experts_.rank(); i < count * (experts_.rank() + 1); ++i)"),
    Mutant("expert-tensor ranks hold the same half of the inner width", "layers/linear.cpp",
           "t.begin[static_cast<size_t>(cut)] = shard.part * t.shape[cut];", "t.begin[static_cast<size_t>(cut)] = 0;"),
    Mutant("one expert-tensor rank's part of a token's gradient is lost", "moe/dispatch.cpp",
           "sent_at.push_back(row < 0 ? -1 : copies_of[static_cast<size_t>(row * parts + part)]);",
           "sent_at.push_back(row < 0 || part > 0 ? -1 : copies_of[static_cast<size_t>(row * parts + part)]);"),
    Mutant("a rank draws the initial weights of its neighbour's experts", "moe/dispatch.h",
           ".first = group.rank() / tensor_parallel_size * count,", ".first = (group.rank() / tensor_parallel_size + 1) % expert_parallel_size * count,"),
    # Sums and means.
    Mutant("a mean over ranks' means instead of one over tokens", "trainer/engine.cpp",
           "const double loss_scale = counts[1] > 0 ? counts[0] / counts[1] : 0.0;",
           "const double loss_scale = counts[1] > 0 ? local[0] / std::max(1.0, local[1]) : 0.0;"),
    Mutant("no gradient by the router's weights", "tensor/autograd/routing.cpp",
           "    return {drows, dweights};\n", "    ops::fill(dweights, 0.0);\n    return {drows, dweights};\n"),
    Mutant("a micro-batch is added to the wrong lane", "parallel/lanes.cpp",
           "return std::popcount(static_cast<uint64_t>(lane));", "return std::popcount(static_cast<uint64_t>(lane)) > 1 ? 1 : std::popcount(static_cast<uint64_t>(lane));"),
]
