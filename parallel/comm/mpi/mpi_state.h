// SPDX-License-Identifier: Apache-2.0
// What this process knows of MPI; inside comm/mpi only.
#pragma once

#include <mpi.h>

#include <memory>
#include <string>
#include <vector>

#include "parallel/comm/group_impl.h"

namespace orthant {

class MpiState : public CommState {
 public:
  MpiState();  // initialises MPI
  void finalize();
  MPI_Comm world() const { return world_; }

  // Equal on both sides of a message, and different for different kinds of operation: ranks that
  // disagree wait in vain, but never take one thing for another.
  int tag(OpKind kind, int64_t sequence) const;

  int64_t chunk_bytes = int64_t{1} << 30;

 protected:
  void wake_all(const std::string& reason) override;
  void idle(int64_t tries, double until) override;

 private:
  MPI_Comm world_ = MPI_COMM_NULL;
  int tag_limit_ = 32767;
  bool crowded_ = false;  // more ranks than processors here
};

// Error(kComm) with MPI's own text unless `code` is success.
void check_mpi(int code, const char* function);

std::shared_ptr<GroupImpl> make_mpi_group(std::shared_ptr<MpiState> state, MPI_Comm comm,
                                          const std::string& name, std::vector<int> world_ranks);

}  // namespace orthant
