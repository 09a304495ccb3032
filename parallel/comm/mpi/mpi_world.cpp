// SPDX-License-Identifier: Apache-2.0
#include "parallel/comm/mpi/mpi_world.h"

#include <sched.h>
#include <unistd.h>

#include <chrono>
#include <cstdlib>
#include <thread>

#include "base/error.h"
#include "parallel/comm/mpi/mpi_state.h"

namespace orthant {
namespace {

struct World {
  std::shared_ptr<MpiState> state;
  Group group;
};

World& world() {
  static World world;
  return world;
}

std::string mpi_text(int code) {
  char text[MPI_MAX_ERROR_STRING] = "";
  int length = 0;
  MPI_Error_string(code, text, &length);
  return std::string(text, static_cast<size_t>(length));
}

bool mpi_is_running() {
  int started = 0, ended = 0;
  MPI_Initialized(&started);
  MPI_Finalized(&ended);
  return started && !ended;
}

}  // namespace

void check_mpi(int code, const char* function) {
  if (code == MPI_SUCCESS) return;
  throw_error(ErrorKind::kComm, concat(function, ": ", mpi_text(code)));
}

MpiState::MpiState() {
  int provided = 0;
  check_mpi(MPI_Init_thread(nullptr, nullptr, MPI_THREAD_SERIALIZED, &provided), "MPI_Init_thread");
  ORTHANT_CHECK(provided >= MPI_THREAD_FUNNELED, kComm,
                "MPI_Init_thread: want at least MPI_THREAD_FUNNELED, got level ", provided);
  MPI_Comm_set_errhandler(MPI_COMM_WORLD, MPI_ERRORS_RETURN);
  check_mpi(MPI_Comm_dup(MPI_COMM_WORLD, &world_), "MPI_Comm_dup");
  int* limit = nullptr;
  int found = 0;
  MPI_Comm_get_attr(world_, MPI_TAG_UB, static_cast<void*>(&limit), &found);
  if (found) tag_limit_ = *limit;
  MPI_Comm node = MPI_COMM_NULL;
  check_mpi(MPI_Comm_split_type(world_, MPI_COMM_TYPE_SHARED, 0, MPI_INFO_NULL, &node),
            "MPI_Comm_split_type");
  int ranks_here = 1;
  MPI_Comm_size(node, &ranks_here);
  MPI_Comm_free(&node);
  crowded_ = ranks_here > sysconf(_SC_NPROCESSORS_ONLN);
}

void MpiState::finalize() {
  drain();
  check_mpi(MPI_Finalize(), "MPI_Finalize");
}

void MpiState::wake_all(const std::string&) { abort_mpi(static_cast<int>(ErrorKind::kComm)); }

int MpiState::tag(OpKind kind, int64_t sequence) const {
  const int64_t slots = tag_limit_ / kNumOpKinds;
  return static_cast<int>(sequence % slots) * kNumOpKinds + static_cast<int>(kind);
}

// MPI moves only inside its calls, so waiting means testing.  A peer that shares this processor has
// to run meanwhile; after a while the processor is left to whoever computes.
void MpiState::idle(int64_t tries, double) {
  constexpr int64_t kBusy = 200, kYielding = 20000;
  if (tries < kBusy && !crowded_) return;
  if (tries < kYielding) {
    sched_yield();
  } else {
    std::this_thread::sleep_for(std::chrono::microseconds(50));
  }
}

bool launched_by_mpi() {
  for (const char* name :
       {"OMPI_COMM_WORLD_SIZE", "PMIX_RANK", "PMI_RANK", "PMI_SIZE", "MPI_LOCALNRANKS"}) {
    if (std::getenv(name)) return true;
  }
  return false;
}

Group mpi_world() {
  if (!world().state) {
    auto state = std::make_shared<MpiState>();
    int size = 0;
    check_mpi(MPI_Comm_size(state->world(), &size), "MPI_Comm_size");
    std::vector<int> ranks;
    for (int rank = 0; rank < size; ++rank) ranks.push_back(rank);
    world().group = Group(make_mpi_group(state, state->world(), "world", std::move(ranks)));
    world().state = std::move(state);
  }
  return world().group;
}

void finalize_mpi() {
  if (!world().state || !mpi_is_running()) return;
  world().state->finalize();
  world() = World();
}

void abort_mpi(int exit_code) {
  if (mpi_is_running()) MPI_Abort(MPI_COMM_WORLD, exit_code);
  _exit(exit_code);
}

void set_mpi_chunk_bytes(int64_t bytes) {
  mpi_world();
  world().state->chunk_bytes = bytes;
}

void set_mpi_stage_everything(bool stage) {
  mpi_world();
  world().state->stage_everything = stage;
}

}  // namespace orthant
