// SPDX-License-Identifier: Apache-2.0
// The status pages of a host's ranks in memory that they share.
//
// The memory has a name only while it is opened, so that nothing is left behind however the job
// ends.  Where the host has no shared memory to give there are no pages, and reports say so.
#pragma once

#include <mpi.h>

#include <cstddef>
#include <vector>

#include "parallel/comm/status_page.h"

namespace orthant {

class SharedPages {
 public:
  SharedPages() = default;
  ~SharedPages();
  SharedPages(const SharedPages&) = delete;
  SharedPages& operator=(const SharedPages&) = delete;

  // Collective over `node`, the ranks of one host.
  void open(MPI_Comm world, MPI_Comm node);
  // Null for ranks of other hosts; empty without shared memory.
  const std::vector<StatusPage*>& by_world_rank() const { return pages_; }

 private:
  void* memory_ = nullptr;
  size_t bytes_ = 0;
  std::vector<StatusPage*> pages_;
};

}  // namespace orthant
