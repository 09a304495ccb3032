// SPDX-License-Identifier: Apache-2.0
// A group whose members exchange host memory, message by message: every collective is one set of
// messages between pairs, all under way at once.  Implementations (threads/, mpi/) deliver them.
//
// A message is matched by (group, source, kind of operation, sequence number).  Collectives also
// send empty messages, so that a rank that waits knows exactly who is missing, and sizes that do
// not fit are found.
//
// Tensors of a device are staged: what goes to other ranks is copied to the host when the operation
// is posted, what comes from them goes to the device when it completes.  A rank's own rows stay on
// the device.
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

// Whether a tensor there travels through a copy in host memory.
inline bool must_stage(Device device, bool stage_everything) {
  return (!device.is_cpu() && !device.is_meta()) || stage_everything;
}

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
    std::vector<Arrival> arrivals;   // what is staged
  };
  virtual WorkPtr post(Exchange exchange) = 0;

 private:
  struct Rows {
    int64_t begin, end;
  };
  Rows own_of(std::span<const int64_t> rows) const;  // this rank's among everybody's
  WorkPtr start(Exchange exchange);
  bool is_staged(const Tensor& tensor) const;
  // Where messages find the tensor's elements, and where they leave them: the tensor itself, or
  // host memory beside it.  Kept by the exchange.
  char* outgoing(Exchange& exchange, const Tensor& tensor) const;
  char* incoming(Exchange& exchange, const Tensor& tensor) const;

  std::vector<int64_t> sent_, received_;  // send and recv so far, by peer
};

}  // namespace orthant
