// SPDX-License-Identifier: Apache-2.0
// The world of ranks that mpirun (or srun) started.
//
// MPI is called from one thread only: the one that called mpi_world() first.  Host memory travels
// as messages between pairs (host_group.h), so that a rank that waits knows who is missing, and no
// sum depends on MPI's choice of algorithm.  Peers of a failed rank cannot go on: MPI 3.1 has no
// recovery, so a failure ends the job (abort_mpi) and a supervisor starts it again.
#pragma once

#include <cstdint>
#include <string>

#include "parallel/comm/group.h"

namespace orthant {

// Whether a launcher's environment says so: mpirun (Open MPI, MPICH, Intel) or srun with PMI/PMIx.
bool launched_by_mpi();

// Initialises MPI on the first call; the same group on every call.
Group mpi_world();

// Completes what is pending, waits for the other ranks to come here too, and leaves MPI.
// Collective; a no-op when MPI was not initialised.  Error(kComm) when a rank is elsewhere: then
// use abort_mpi.
void finalize_mpi(Site site = Site::current());

// Ends all ranks.  mpirun reports exit_code; a rank that ends by itself with another code, or by a
// signal, before MPI's own kill arrives may be reported in its place.
[[noreturn]] void abort_mpi(int exit_code);

// This rank leaves with an error that other ranks may not have: those of its host that wait for it
// end with Error(kComm) and the reason.  A no-op before mpi_world().
void show_mpi_failure(const std::string& reason);

// Messages above this are sent in pieces (MPI 3.1 counts in int).  For tests.
void set_mpi_chunk_bytes(int64_t bytes);
// As if all tensors were a device's (parallel/comm/host_group.h).  For tests.
void set_mpi_stage_everything(bool stage);

}  // namespace orthant
