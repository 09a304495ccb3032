// SPDX-License-Identifier: Apache-2.0
// A group whose members exchange host memory, message by message: every collective is one set of
// messages between pairs, all under way at once.  Implementations (threads/, mpi/) deliver them.
//
// A message is matched by (group, source, kind of operation, sequence number).  Collectives also
// send empty messages, so that a rank that waits knows exactly who is missing, and sizes that do
// not fit are found.
#pragma once

#include <memory>
#include <span>
#include <string>
#include <vector>

#include "parallel/comm/group_impl.h"

namespace orthant {

// What goes to, or comes from, one other member.
struct Part {
  int peer = 0;  // rank in the group
  char* data = nullptr;
  int64_t bytes = 0;
};

class HostGroup : public GroupImpl {
 public:
  using GroupImpl::GroupImpl;
  WorkPtr all_to_all(const Call& call, const Tensor& send, std::span<const int64_t> send_rows,
                     const Tensor& recv, std::span<const int64_t> recv_rows) override;
  WorkPtr all_gather(const Call& call, const Tensor& send, const Tensor& recv,
                     std::span<const int64_t> recv_rows) override;
  WorkPtr broadcast(const Call& call, const Tensor& tensor, int root) override;
  WorkPtr send(const Call& call, const Tensor& tensor, int to) override;
  WorkPtr recv(const Call& call, const Tensor& tensor, int from) override;
  WorkPtr barrier(const Call& call) override;

 protected:
  struct Exchange {
    Call call;
    std::vector<Part> sends, recvs;  // never this rank itself
    std::vector<Tensor> keep;        // the tensors that own the memory
  };
  virtual WorkPtr post(Exchange exchange) = 0;

 private:
  WorkPtr start(Exchange exchange);
  // The address of a tensor that may travel: the one place that refuses device memory.
  char* host_data(const Call& call, const Tensor& tensor) const;

  std::vector<int64_t> sent_, received_;  // send and recv so far, by peer
};

}  // namespace orthant
