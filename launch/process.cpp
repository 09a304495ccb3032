// SPDX-License-Identifier: Apache-2.0
#include "launch/process.h"

#include <fcntl.h>
#include <signal.h>
#include <time.h>
#include <unistd.h>

#include <cerrno>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <iostream>
#include <new>

#include "base/clock.h"
#include "base/context.h"
#include "base/error.h"
#include "base/log.h"
#include "parallel/agree_isa.h"
#include "parallel/comm/mpi/mpi_world.h"

namespace orthant {

std::atomic<bool> stop_requested{false};

namespace {

bool ranks_started = false;

void on_signal(int number) {
  if (number == SIGINT && stop_requested.load()) _exit(130);
  stop_requested.store(true);
}

int environment_int(const char* name, int fallback) {
  const char* text = std::getenv(name);
  return text ? std::atoi(text) : fallback;
}

bool is_seen_by_all(ErrorKind kind) {
  switch (kind) {
    case ErrorKind::kUsage:
    case ErrorKind::kConfig:
    case ErrorKind::kData:
    case ErrorKind::kMissingInput:
    case ErrorKind::kDevice:
    case ErrorKind::kCannotWrite:
    case ErrorKind::kNumeric:
      return true;
    default:
      return false;
  }
}

int end_with(ErrorKind kind, const std::string& message) {
  const int code = static_cast<int>(kind);
  const bool everyone = is_seen_by_all(kind);
  // Not by what a launcher's variables say: a process that joined no ranks is alone with its error.
  const bool first = context().rank == 0;
  if (!everyone || first) log::error(message);
  if (ranks_started) {
    if (!everyone) abort_mpi(code);
    // The others have the same error and leave by themselves; one that has not, and waits, hears of
    // it; any other would keep the job alive.
    show_mpi_failure(message);
    alarm(20);
    try {
      finalize_mpi();
    } catch (const Error& error) {
      if (!first) log::error(message);
      log::error(error.what());
      abort_mpi(code);
    }
    alarm(0);
  }
  return code;
}

}  // namespace

void open_standard_files() {
  for (int file = 0; file <= 2; ++file) {
    // open() takes the lowest free number, which is this one.
    if (fcntl(file, F_GETFD) < 0) static_cast<void>(open("/dev/null", file ? O_WRONLY : O_RDONLY));
  }
}

void write_out(const std::string& text) {
  std::fwrite(text.data(), 1, text.size(), stdout);
  std::fflush(stdout);
}

int close_stdout(int code) {
  errno = 0;
  std::cout.flush();
  const bool lost = (std::fflush(stdout) != 0) | (std::ferror(stdout) != 0) | !std::cout;
  if (!lost || code != 0) return code;
  // The write that failed may lie behind.
  log::error("standard output could not be written",
             errno ? concat(": ", std::strerror(errno)) : " (is its disk full?)",
             "; what stands there is cut");
  return static_cast<int>(ErrorKind::kCannotWrite);
}

void install_signal_handlers() {
  struct sigaction action = {};
  action.sa_handler = on_signal;
  action.sa_flags = SA_RESTART;
  for (int number : {SIGUSR1, SIGTERM, SIGINT}) sigaction(number, &action, nullptr);
  struct sigaction hangup = {};
  sigaction(SIGHUP, nullptr, &hangup);
  if (hangup.sa_handler != SIG_IGN) sigaction(SIGHUP, &action, nullptr);
  // A closed pipe or a full quota is an error of a write, not the end of the run.
  signal(SIGPIPE, SIG_IGN);
  signal(SIGXFSZ, SIG_IGN);
}

bool is_first_process() {
  if (!launched_by_mpi()) return true;
  for (const char* name : {"OMPI_COMM_WORLD_RANK", "PMI_RANK", "PMIX_RANK"}) {
    if (std::getenv(name)) return environment_int(name, 0) == 0;
  }
  return true;
}

Group start_ranks(double timeout_seconds) {
  RankContext& rank = context();
  if (const char* threads = std::getenv("OMP_NUM_THREADS"); threads && std::atoi(threads) < 1) {
    log::warn("OMP_NUM_THREADS=", threads, " is no number of threads; using ", rank.num_threads);
  }
  if (!launched_by_mpi()) return Group::self();
  // Ranks of one node share its processors, unless the user says how many threads each has.
  if (!std::getenv("OMP_NUM_THREADS")) {
    int local =
        environment_int("OMPI_COMM_WORLD_LOCAL_SIZE", environment_int("MPI_LOCALNRANKS", 1));
    rank.num_threads = std::max(1, rank.num_threads / std::max(1, local));
  }
  const Group world = mpi_world();
  ranks_started = true;
  world.set_deadline_seconds(timeout_seconds);
  rank.rank = world.rank();
  rank.world_size = world.size();
  rank.label = concat("r", rank.rank);
  agree_on_isa(world);
  return world;
}

int run_guarded(const std::function<int()>& work) {
  try {
    const int code = work();
    if (ranks_started) finalize_mpi();
    return code;
  } catch (const Error& error) {
    return end_with(error.kind(), error.what());
  } catch (const std::bad_alloc&) {
    return end_with(ErrorKind::kMemory, "out of memory");
  } catch (const std::exception& error) {
    return end_with(ErrorKind::kInternal, concat("unexpected: ", error.what()));
  }
}

double process_start_seconds() {
  // Field 22 of /proc/self/stat: start time since boot, in clock ticks.
  FILE* file = std::fopen("/proc/self/stat", "r");
  char text[1024] = "";
  const size_t size = file ? std::fread(text, 1, sizeof(text) - 1, file) : 0;
  if (file) std::fclose(file);
  text[size] = 0;
  const char* field = std::strrchr(text, ')');
  for (int i = 0; field && i < 20; ++i) field = std::strchr(field + 1, ' ');
  if (!field) return now_seconds();
  const double started = std::atof(field + 1) / static_cast<double>(sysconf(_SC_CLK_TCK));
  timespec boot;
  clock_gettime(CLOCK_BOOTTIME, &boot);
  return now_seconds() -
         (static_cast<double>(boot.tv_sec) + static_cast<double>(boot.tv_nsec) * 1e-9 - started);
}

}  // namespace orthant
