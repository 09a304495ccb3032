// SPDX-License-Identifier: Apache-2.0
#include "parallel/comm/mpi/shared_pages.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <unistd.h>

#include <array>
#include <cstdio>
#include <new>
#include <random>

namespace orthant {
namespace {

using Name = std::array<char, 64>;

// The memory's descriptor, or -1.
int create(Name& name, size_t bytes) {
  std::snprintf(name.data(), name.size(), "/orthant.%d.%08x", static_cast<int>(getpid()),
                std::random_device()());
  const int file = shm_open(name.data(), O_RDWR | O_CREAT | O_EXCL, 0600);
  if (file < 0) return -1;
  // Not ftruncate: memory that is promised but not there would end a write with SIGBUS.
  if (posix_fallocate(file, 0, static_cast<off_t>(bytes)) == 0) return file;
  close(file);
  shm_unlink(name.data());
  return -1;
}

}  // namespace

SharedPages::~SharedPages() {
  if (memory_) munmap(memory_, bytes_);
}

void SharedPages::open(MPI_Comm world, MPI_Comm node) {
  int world_rank = 0, world_size = 1, rank = 0, size = 1;
  MPI_Comm_rank(world, &world_rank);
  MPI_Comm_size(world, &world_size);
  MPI_Comm_rank(node, &rank);
  MPI_Comm_size(node, &size);
  bytes_ = static_cast<size_t>(size) * sizeof(StatusPage);
  Name name{};
  int file = rank == 0 ? create(name, bytes_) : -1;
  int created = file >= 0;
  MPI_Bcast(&created, 1, MPI_INT, 0, node);
  if (!created) return;
  MPI_Bcast(name.data(), static_cast<int>(name.size()), MPI_CHAR, 0, node);
  if (rank != 0) file = shm_open(name.data(), O_RDWR, 0600);
  void* memory = MAP_FAILED;
  if (file >= 0) {
    memory = mmap(nullptr, bytes_, PROT_READ | PROT_WRITE, MAP_SHARED, file, 0);
    close(file);
  }
  int is_mapped = memory != MAP_FAILED, all_mapped = 0;
  MPI_Allreduce(&is_mapped, &all_mapped, 1, MPI_INT, MPI_MIN, node);
  if (rank == 0) shm_unlink(name.data());
  if (is_mapped) memory_ = memory;
  if (!all_mapped) return;
  auto* const first = static_cast<StatusPage*>(memory_);
  new (first + rank) StatusPage();
  std::vector<int> world_ranks(static_cast<size_t>(size));
  MPI_Allgather(&world_rank, 1, MPI_INT, world_ranks.data(), 1, MPI_INT, node);
  pages_.resize(static_cast<size_t>(world_size), nullptr);
  for (size_t i = 0; i < world_ranks.size(); ++i) {
    pages_[static_cast<size_t>(world_ranks[i])] = first + i;
  }
}

}  // namespace orthant
