// SPDX-License-Identifier: Apache-2.0
// The one thread of the process that calls the HDF5 library, which is not thread-safe.
//
// Thread ranks, loaders and writers all send their HDF5 work here.  The thread starts at the first
// call and lives as long as the process.
#pragma once

#include "base/function_ref.h"

namespace orthant {

// Runs `job` on the HDF5 thread and waits for it; what it throws is thrown here.  Jobs run one at a
// time in the order of the calls.  Called on the HDF5 thread itself, it just runs the job.
void on_hdf5_thread(FunctionRef<void()> job);

}  // namespace orthant
