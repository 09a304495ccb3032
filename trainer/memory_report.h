// SPDX-License-Identifier: Apache-2.0
// What ranks held, for the log, metrics.jsonl and the report.
#pragma once

#include <string>
#include <utility>
#include <vector>

#include "base/ledger.h"

namespace orthant {

// "1.20 GiB (parameters 300.00 MiB, ...)".
std::string held_text(const MemoryBytes& bytes);
// Lines of all ranks, or of the fullest where they are many.
void log_memory(const std::vector<MemoryPeaks>& ranks);
// Peaks over a step by category, each of the rank that holds most of it: "memory_step_bytes", ...
std::vector<std::pair<std::string, double>> memory_metrics(const std::vector<MemoryPeaks>& ranks);

}  // namespace orthant
