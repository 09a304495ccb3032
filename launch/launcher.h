// SPDX-License-Identifier: Apache-2.0
// Runs a program on several ranks of this machine, under mpirun.
#pragma once

#include <string>
#include <vector>

namespace orthant {

// Returns the exit code of the ranks: of MPI_Abort, else of the first that did not end well, after
// which the others have a few seconds; 128 + the signal that ended a rank, mpirun or this process.
//
// SIGTERM, SIGINT, SIGHUP (unless it was ignored, as by nohup) and SIGUSR1 reach the ranks as
// SIGUSR1, so that a run saves and ends with 75; mpirun itself would end them within seconds.  A
// SIGINT after any of them ends the ranks at once.  No rank outlives the call, and mpirun does not
// outlive the ranks for long.  Standard error is mpirun's and the ranks', through MpirunFilter.
//
// Errors: kDevice where there is no mpirun, kMissingInput where there is no such program.
// To be called once, by a process with one thread.
int launch_ranks(int ranks, const std::string& program, const std::vector<std::string>& arguments);

// The file of this process's program.
std::string own_program();

}  // namespace orthant
