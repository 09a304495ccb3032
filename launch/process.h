// SPDX-License-Identifier: Apache-2.0
// What a command does before and after its work: ranks, threads, signals, errors.
#pragma once

#include <atomic>
#include <functional>
#include <string>

#include "parallel/comm/group.h"

namespace orthant {

// Files 0 to 2 that the caller has closed become /dev/null: else the first file that is opened gets
// such a number, and what is printed goes into it.  Before all else.
void open_standard_files();

// Text that somebody waits for, on stdout at once.
void write_out(const std::string& text);

// After all else: the exit code, which becomes kCannotWrite, with an error, where all went well but
// not all of stdout could be written.
int close_stdout(int code);

// Set by SIGUSR1, SIGTERM, SIGHUP (unless it was ignored, as by nohup) and the first SIGINT once
// install_signal_handlers() was called; a SIGINT after any of them ends the process.
extern std::atomic<bool> stop_requested;
void install_signal_handlers();

// The ranks that a launcher started, or this process alone; MPI is initialised only under a
// launcher.  Settles rank, label and threads of this process's context, and the instruction-set
// level on which all ranks agree.
Group start_ranks(double timeout_seconds);

// For a command that works in one process: whether this is the one, of those that a launcher
// started, that should do it.
bool is_first_process();

// Runs a command's work and returns the process's exit code.  An error is printed once: by rank 0
// where every rank sees the same one (wrong command line, configuration, input), else by the rank
// that has it, which then ends the others.
int run_guarded(const std::function<int()>& work);

// Seconds (base/clock.h) at which this process began.
double process_start_seconds();

}  // namespace orthant
