// SPDX-License-Identifier: Apache-2.0
// One planted breach of the collective contract under a real mpirun, which test_contract.py starts
// and judges:   mpirun -n 3 mpi_contract CASE DEADLINE_SECONDS [unchecked]
// Errors end the job as in launch/process.cpp.  "ok" is printed by rank 0 when nothing was wrong.
#include <signal.h>
#include <unistd.h>

#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <functional>
#include <map>
#include <string>
#include <thread>

#include "base/clock.h"
#include "base/context.h"
#include "base/error.h"
#include "base/log.h"
#include "parallel/comm/mpi/mpi_world.h"

using namespace orthant;

namespace {

Tensor floats(int64_t count) { return Tensor::zeros({count}, DType::kF32); }

void sleep_seconds(double seconds) {
  std::this_thread::sleep_for(std::chrono::duration<double>(seconds));
}

using Case = std::function<void(const Group& world, bool is_odd)>;

// is_odd: this is the rank that breaks the contract.
const std::map<std::string, Case>& cases() {
  static const std::map<std::string, Case> all = {
      {"nothing",
       [](const Group& world, bool is_odd) {
         if (is_odd) sleep_seconds(0.1);
         for (int i = 0; i < 100; ++i) world.all_reduce(floats(20000)).wait();
       }},
      {"operation",
       [](const Group& world, bool is_odd) {
         if (is_odd) {
           world.barrier();
         } else {
           world.all_reduce(floats(8)).wait();
         }
       }},
      {"dtype",
       [](const Group& world, bool is_odd) {
         world.all_reduce(Tensor::zeros({8}, is_odd ? DType::kF64 : DType::kF32)).wait();
       }},
      {"count",
       [](const Group& world, bool is_odd) { world.all_reduce(floats(is_odd ? 9 : 8)).wait(); }},
      {"step",
       [](const Group& world, bool is_odd) {
         world.set_step(is_odd ? 8 : 7);
         world.barrier();
       }},
      {"rows",
       [](const Group& world, bool is_odd) {
         std::vector<int64_t> send(static_cast<size_t>(world.size()), 2), recv = send;
         if (is_odd) recv[0] = 3;
         const Tensor to = floats(2 * world.size() + (is_odd ? 1 : 0));
         world.all_to_all(floats(2 * world.size()), send, to, recv).wait();
       }},
      {"skipped",
       [](const Group& world, bool is_odd) {
         if (!is_odd) world.all_reduce(floats(8)).wait();
         world.all_reduce(floats(8)).wait();
         world.barrier();
       }},
      {"crossed",
       [](const Group& world, bool is_odd) {
         const Group a = world.split(0, 0, "a"), b = world.split(0, 0, "b");
         (is_odd ? b : a).all_reduce(floats(8)).wait();
         (is_odd ? a : b).all_reduce(floats(8)).wait();
       }},
      {"computes",
       [](const Group& world, bool is_odd) {
         const double until = now_seconds() + 60;
         world.barrier();
         while (is_odd && now_seconds() < until) {
         }
         world.barrier();
       }},
      {"late",
       [](const Group& world, bool is_odd) {
         if (is_odd) sleep_seconds(2.0);
         world.barrier();
       }},
      {"killed",
       [](const Group& world, bool is_odd) {
         world.barrier();
         if (is_odd) kill(getpid(), SIGKILL);
         world.barrier();
       }},
      {"stopped",
       [](const Group& world, bool is_odd) {
         world.barrier();
         if (is_odd) kill(getpid(), SIGSTOP);
         world.barrier();
       }},
      {"threw",
       [](const Group& world, bool is_odd) {
         if (is_odd) throw_error(ErrorKind::kMemory, "no room for 12 GiB");
         world.barrier();
       }},
      {"left",  // as end_with does for an error that all ranks should have
       [](const Group& world, bool is_odd) {
         if (is_odd) {
           show_mpi_failure("corpus.bin: bad magic");
           alarm(20);
           finalize_mpi();
         } else {
           world.barrier();
         }
       }},
      {"ended",
       [](const Group& world, bool is_odd) {
         if (is_odd) {
           finalize_mpi();
         } else {
           world.barrier();
         }
       }},
      {"unreceived",
       [](const Group& world, bool is_odd) {
         if (is_odd) world.send(floats(8), 0).wait();
         world.barrier();
       }},
      {"unsent",
       [](const Group& world, bool is_odd) {
         if (is_odd) world.recv(floats(8), 0).wait();
         world.barrier();
       }},
      {"message",
       [](const Group& world, bool is_odd) {
         if (is_odd) world.send(Tensor::zeros({16}, DType::kI32), 0).wait();
         if (world.rank() == 0) world.recv(floats(8), world.size() - 2).wait();
         world.barrier();
       }},
  };
  return all;
}

}  // namespace

int main(int argc, char** argv) {
  RankContext context;
  const ContextScope scope(context);
  try {
    ORTHANT_CHECK(argc >= 3 && cases().count(argv[1]), kUsage, "mpi_contract CASE SECONDS");
    const Group world = mpi_world();
    context.rank = world.rank();
    context.world_size = world.size();
    context.label = concat("r", world.rank());
    world.set_deadline_seconds(std::atof(argv[2]));
    world.set_check_collectives(argc == 3);
    cases().at(argv[1])(world, world.rank() == world.size() - 2);
    finalize_mpi();
    if (context.rank == 0) std::printf("ok\n");
  } catch (const Error& error) {
    log::error(error.what());
    abort_mpi(error.exit_code());
  }
  return 0;
}
