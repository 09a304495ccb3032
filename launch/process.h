// SPDX-License-Identifier: Apache-2.0
// What a command does before and after its work: ranks, threads, signals, errors.
#pragma once

#include <atomic>
#include <functional>

#include "parallel/comm/group.h"

namespace orthant {

// Set by SIGUSR1, SIGTERM and the first SIGINT once install_signal_handlers() was called; a second
// SIGINT ends the process.
extern std::atomic<bool> stop_requested;
void install_signal_handlers();

// The ranks that a launcher started, or this process alone; MPI is initialised only under a
// launcher.  Settles rank, label and threads of this process's context, and the instruction-set
// level on which all ranks agree.
Group start_ranks(double timeout_seconds);

// Runs a command's work and returns the process's exit code.  An error is printed once: by rank 0
// where every rank sees the same one (wrong command line, configuration, input), else by the rank
// that has it, which then ends the others.
int run_guarded(const std::function<int()>& work);

// Seconds (base/clock.h) at which this process began.
double process_start_seconds();

}  // namespace orthant
