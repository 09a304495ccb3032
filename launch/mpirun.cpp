// SPDX-License-Identifier: Apache-2.0
#include "launch/mpirun.h"

#include <unistd.h>

#include <array>
#include <cstdlib>
#include <filesystem>
#include <sstream>
#include <system_error>

#include "base/error.h"

namespace orthant {
namespace {

void set_environment() {
  constexpr bool kReplace = true;
  if (geteuid() == 0) {
    setenv("OMPI_ALLOW_RUN_AS_ROOT", "1", kReplace);
    setenv("OMPI_ALLOW_RUN_AS_ROOT_CONFIRM", "1", kReplace);
  }
  if (find_program("ssh").empty()) setenv("OMPI_MCA_plm", "isolated", kReplace);
  // Containers often forbid reading another process's memory; Open MPI then copies through shared
  // memory.
  setenv("OMPI_MCA_btl_vader_single_copy_mechanism", "none", !kReplace);
}

}  // namespace

std::string find_program(const std::string& name) {
  if (name.find('/') != name.npos) return access(name.c_str(), X_OK) == 0 ? name : "";
  const char* path = std::getenv("PATH");
  std::istringstream folders(path ? path : "");
  for (std::string folder; std::getline(folders, folder, ':');) {
    const std::string file = concat(folder.empty() ? "." : folder, "/", name);
    if (access(file.c_str(), X_OK) == 0) return file;
  }
  return "";
}

std::vector<std::string> mpirun_command(int ranks, const std::vector<std::string>& words) {
  const std::string mpirun = find_program("mpirun");
  ORTHANT_CHECK(!mpirun.empty(), kDevice,
                "launch: no mpirun in PATH; install Open MPI (Debian, Ubuntu: openmpi-bin)");
  set_environment();
  std::vector<std::string> command = {mpirun, "--oversubscribe", "--bind-to", "none",
                                      "-n",   concat(ranks)};
  command.insert(command.end(), words.begin(), words.end());
  return command;
}

void remove_session_folder(pid_t mpirun) {
  std::array<char, 256> host = {};
  gethostname(host.data(), host.size() - 1);
  const std::string jobs = concat("ompi.", host.data(), ".", geteuid());
  std::error_code ignored;
  const auto folder = std::filesystem::temp_directory_path(ignored) / jobs / concat("pid.", mpirun);
  std::filesystem::remove_all(folder, ignored);
}

}  // namespace orthant
