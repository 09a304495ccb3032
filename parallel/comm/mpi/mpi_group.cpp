// SPDX-License-Identifier: Apache-2.0
#include <algorithm>

#include "base/error.h"
#include "parallel/comm/host_group.h"
#include "parallel/comm/mpi/mpi_state.h"
#include "parallel/comm/self_group.h"

namespace orthant {
namespace {

struct Request {
  int peer = 0;
  bool is_recv = false;
  int bytes = 0;
};

class MpiWork : public WorkImpl {
 public:
  MpiWork(std::shared_ptr<GroupImpl> group, MpiState& state, MPI_Comm comm, const Call& call,
          std::vector<Tensor> keep)
      : WorkImpl(std::move(group), call, std::move(keep)),
        state_(state),
        comm_(comm),
        tag_(state.tag(call.kind, call.sequence)) {}

  // Pieces of a message stay in order: MPI does not let messages of one tag overtake each other.
  void add(const Part& part, bool is_recv) {
    int64_t at = 0;
    do {
      const int bytes = static_cast<int>(std::min(part.bytes - at, state_.chunk_bytes));
      MPI_Request handle = MPI_REQUEST_NULL;
      if (is_recv) {
        check_mpi(MPI_Irecv(part.data + at, bytes, MPI_BYTE, part.peer, tag_, comm_, &handle),
                  "MPI_Irecv");
      } else {
        // In checked mode a message is done when its receiver has begun to take it.
        const bool awaits_receiver = call_.kind == OpKind::kSendRecv && state_.check_collectives;
        const auto isend = awaits_receiver ? MPI_Issend : MPI_Isend;
        check_mpi(isend(part.data + at, bytes, MPI_BYTE, part.peer, tag_, comm_, &handle),
                  "MPI_Isend");
      }
      handles_.push_back(handle);
      requests_.push_back({part.peer, is_recv, bytes});
      at += bytes;
    } while (at < part.bytes);
  }

  // Those whose messages have not come; when all have, those that have not taken ours.
  std::vector<int> missing() const override {
    std::vector<int> senders, takers;
    for (size_t i = 0; i < handles_.size(); ++i) {
      if (handles_[i] == MPI_REQUEST_NULL) continue;
      std::vector<int>& ranks = requests_[i].is_recv ? senders : takers;
      const int rank = group_->world_rank(requests_[i].peer);
      if (std::find(ranks.begin(), ranks.end(), rank) == ranks.end()) ranks.push_back(rank);
    }
    return senders.empty() ? takers : senders;
  }

  // Looks for a message of the same place in the order of operations, but of another kind.
  void diagnose() override {
    if (call_.kind == OpKind::kSendRecv) return;
    for (size_t i = 0; i < handles_.size(); ++i) {
      if (handles_[i] == MPI_REQUEST_NULL || !requests_[i].is_recv) continue;
      for (int kind = 0; kind < kNumOpKinds; ++kind) {
        const auto other = static_cast<OpKind>(kind);
        if (other == call_.kind || other == OpKind::kSendRecv) continue;
        int found = 0;
        check_mpi(MPI_Iprobe(requests_[i].peer, state_.tag(other, call_.sequence), comm_, &found,
                             MPI_STATUS_IGNORE),
                  "MPI_Iprobe");
        if (found) throw_mismatch(requests_[i].peer, concat("is in ", name_of(other)));
      }
    }
  }

 protected:
  bool advance() override {
    if (num_done_ == handles_.size()) return true;
    const int count = static_cast<int>(handles_.size());
    indices_.resize(handles_.size());
    statuses_.resize(handles_.size());
    int done = 0;
    const int code = MPI_Testsome(count, handles_.data(), &done, indices_.data(), statuses_.data());
    if (code != MPI_SUCCESS && code != MPI_ERR_IN_STATUS) fail(code);
    if (done == MPI_UNDEFINED) return true;
    for (int i = 0; i < done; ++i) {
      const MPI_Status& status = statuses_[static_cast<size_t>(i)];
      const Request& request = requests_[static_cast<size_t>(indices_[static_cast<size_t>(i)])];
      if (code == MPI_ERR_IN_STATUS) check_status(status.MPI_ERROR, request);
      if (request.is_recv) check_bytes(status, request);
    }
    num_done_ += static_cast<size_t>(done);
    return num_done_ == handles_.size();
  }

 private:
  static const char* name_of(OpKind kind) {
    constexpr const char* kNames[kNumOpKinds] = {"send or recv",
                                                 "all_to_all",
                                                 "all_gather",
                                                 "broadcast",
                                                 "barrier",
                                                 "a sum",
                                                 "a sum, max, split, text or the end",
                                                 "the agreement on a collective"};
    return kNames[static_cast<int>(kind)];
  }

  [[noreturn]] void fail(int code) const {
    try {
      check_mpi(code, "MPI");
    } catch (const Error& error) {
      throw_error(ErrorKind::kComm,
                  concat(call_.op, " on group ", group_->name(), " at ", text_of(call_.site), ": ",
                         error.what()),
                  call_.site);
    }
    throw_error(ErrorKind::kInternal, "MPI reported an error without a code");
  }

  void check_status(int code, const Request& request) const {
    if (code == MPI_SUCCESS || code == MPI_ERR_PENDING) return;
    int error_class = 0;
    MPI_Error_class(code, &error_class);
    if (error_class == MPI_ERR_TRUNCATE) {
      throw_mismatch(request.peer, concat("sends more than ", request.bytes, " bytes"));
    }
    fail(code);
  }

  void check_bytes(const MPI_Status& status, const Request& request) const {
    int bytes = 0;
    MPI_Get_count(&status, MPI_BYTE, &bytes);
    if (bytes == request.bytes) return;
    throw_mismatch(request.peer,
                   concat("sends ", bytes, " bytes where ", request.bytes, " are wanted"));
  }

  [[noreturn]] void throw_mismatch(int peer, const std::string& what) const {
    throw_error(
        ErrorKind::kComm,
        concat("ranks of group ", group_->name(), " disagree on operation ", call_.sequence, ": ",
               call_.op, " of ", human_bytes(double(call_.bytes)), " at ", text_of(call_.site),
               " on rank ", group_->world_rank(group_->rank()), ", but rank ",
               group_->world_rank(peer), " ", what, "; see that rank's last operations"),
        call_.site);
  }

  MpiState& state_;
  MPI_Comm comm_;
  int tag_;
  std::vector<MPI_Request> handles_;
  std::vector<Request> requests_;
  std::vector<int> indices_;
  std::vector<MPI_Status> statuses_;
  size_t num_done_ = 0;
};

// Communicators live until MPI_Finalize: groups are made once, and freeing one is collective.
class MpiGroup : public HostGroup {
 public:
  MpiGroup(std::shared_ptr<MpiState> state, MPI_Comm comm, int rank, const std::string& name,
           std::vector<int> world_ranks)
      : HostGroup(state, rank, name, std::move(world_ranks)), mpi_(std::move(state)), comm_(comm) {}

  std::shared_ptr<GroupImpl> split(int color, const std::vector<int>& members,
                                   const std::string& name) override {
    const auto me = std::find(members.begin(), members.end(), rank());
    MPI_Comm comm = MPI_COMM_NULL;
    check_mpi(MPI_Comm_split(comm_, members.empty() ? MPI_UNDEFINED : color,
                             static_cast<int>(me - members.begin()), &comm),
              "MPI_Comm_split");
    if (members.empty()) return nullptr;
    std::vector<int> world_ranks;
    for (const int member : members) world_ranks.push_back(world_rank(member));
    return make_mpi_group(mpi_, comm, name, std::move(world_ranks));
  }

 protected:
  WorkPtr post(Exchange exchange) override {
    auto work = std::make_shared<MpiWork>(shared_from_this(), *mpi_, comm_, exchange.call,
                                          std::move(exchange.keep));
    for (const Part& part : exchange.recvs) work->add(part, /*is_recv=*/true);
    for (const Part& part : exchange.sends) work->add(part, /*is_recv=*/false);
    return work;
  }

 private:
  std::shared_ptr<MpiState> mpi_;
  MPI_Comm comm_;
};

}  // namespace

std::shared_ptr<GroupImpl> make_mpi_group(std::shared_ptr<MpiState> state, MPI_Comm comm,
                                          const std::string& name, std::vector<int> world_ranks) {
  int rank = 0;
  check_mpi(MPI_Comm_rank(comm, &rank), "MPI_Comm_rank");
  if (world_ranks.size() == 1) return make_self_group(std::move(state), world_ranks[0], name);
  return std::make_shared<MpiGroup>(std::move(state), comm, rank, name, std::move(world_ranks));
}

}  // namespace orthant
