// SPDX-License-Identifier: Apache-2.0
// What ranks held, for the log, metrics.jsonl and the report.
#pragma once

#include <string>
#include <utility>
#include <vector>

#include "base/ledger.h"
#include "parallel/comm/group.h"

namespace orthant {

// Everybody's, by rank.  Collective.
std::vector<MemoryPeaks> gather_peaks(const Group& world, const MemoryPeaks& own);
// The rank that holds most in all.
size_t fullest_rank(const std::vector<MemoryPeaks>& ranks);

// One line for each of the given ranks, under a title line: each category's peak, that of
// activations, workspace and communication together (step), and that of all together.
std::string memory_table(const std::vector<MemoryPeaks>& ranks, const std::vector<size_t>& shown);

// "1.20 GiB (parameters 300.00 MiB, ...)".
std::string held_text(const MemoryBytes& bytes);
// Lines of all ranks, or of the fullest where they are many.
void log_memory(const std::vector<MemoryPeaks>& ranks);
// Peaks over a step by category, each of the rank that holds most of it: "memory_step_bytes", ...
std::vector<std::pair<std::string, double>> memory_metrics(const std::vector<MemoryPeaks>& ranks);

}  // namespace orthant
