// SPDX-License-Identifier: Apache-2.0
// Open MPI's mpirun with what laptops, containers and root need: more ranks than cores allowed, no
// binding, no ssh wanted.
#pragma once

#include <sys/types.h>

#include <string>
#include <vector>

namespace orthant {

// As a shell finds it; "" where there is none.
std::string find_program(const std::string& name);

// The command line that runs these words on each rank; sets what mpirun wants in the environment.
// kDevice where there is no mpirun.
std::vector<std::string> mpirun_command(int ranks, const std::vector<std::string>& words);

// The folder of its job, which a mpirun that was killed leaves behind.
void remove_session_folder(pid_t mpirun);

}  // namespace orthant
