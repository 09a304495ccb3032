// SPDX-License-Identifier: Apache-2.0
#include "parallel/comm/host_group.h"

#include <cstring>

#include "base/context.h"

namespace orthant {
namespace {

int64_t row_bytes(const Tensor& tensor) {
  return tensor.dim(0) == 0 ? 0 : tensor.bytes() / tensor.dim(0);
}

void copy_local(char* to, const char* from, int64_t bytes) {
  if (bytes > 0 && to != from) std::memmove(to, from, static_cast<size_t>(bytes));
}

// TODO(C): pinned memory, and only the parts that travel.
Tensor staging_for(const Tensor& tensor) {
  const CategoryScope scope(MemoryCategory::kCommunication);
  return Tensor::empty(tensor.shape(), tensor.dtype());
}

}  // namespace

bool HostGroup::is_staged(const Tensor& tensor) const {
  return must_stage(tensor.device(), state().stage_everything);
}

char* HostGroup::outgoing(Exchange& exchange, const Tensor& tensor) const {
  Tensor host = tensor;
  if (is_staged(tensor)) {
    host = staging_for(tensor);
    copy(tensor, host);
  }
  exchange.keep.push_back(host);
  return static_cast<char*>(host.data());
}

char* HostGroup::incoming(Exchange& exchange, const Tensor& tensor) const {
  Tensor host = tensor;
  if (is_staged(tensor)) {
    host = staging_for(tensor);
    exchange.arrivals.push_back({host, tensor});
  }
  exchange.keep.push_back(host);
  return static_cast<char*>(host.data());
}

GroupImpl::WorkPtr HostGroup::start(Exchange exchange) {
  std::vector<Arrival> arrivals = std::move(exchange.arrivals);
  WorkPtr work = post(std::move(exchange));
  work->set_arrivals(std::move(arrivals));
  if (!work->test()) state().add(work);
  return work;
}

GroupImpl::WorkPtr HostGroup::all_to_all(const Call& call, const Tensor& send,
                                         std::span<const int64_t> send_rows, const Tensor& recv,
                                         std::span<const int64_t> recv_rows) {
  Exchange exchange{.call = call};
  char *from = outgoing(exchange, send), *to = incoming(exchange, recv);
  const char* mine = nullptr;
  char* mine_to = nullptr;
  for (int peer = 0; peer < size(); ++peer) {
    const auto i = static_cast<size_t>(peer);
    const int64_t send_bytes = send_rows[i] * row_bytes(send);
    const int64_t recv_bytes = recv_rows[i] * row_bytes(recv);
    if (peer == rank()) {
      mine = from;
      mine_to = to;
    } else {
      exchange.sends.push_back({peer, from, send_bytes});
      exchange.recvs.push_back({peer, to, recv_bytes});
    }
    from += send_bytes;
    to += recv_bytes;
  }
  copy_local(mine_to, mine, send_rows[static_cast<size_t>(rank())] * row_bytes(send));
  return start(std::move(exchange));
}

GroupImpl::WorkPtr HostGroup::all_gather(const Call& call, const Tensor& send, const Tensor& recv,
                                         std::span<const int64_t> recv_rows) {
  Exchange exchange{.call = call};
  char *from = outgoing(exchange, send), *to = incoming(exchange, recv);
  for (int peer = 0; peer < size(); ++peer) {
    const int64_t recv_bytes = recv_rows[static_cast<size_t>(peer)] * row_bytes(recv);
    if (peer == rank()) {
      copy_local(to, from, recv_bytes);
    } else {
      exchange.sends.push_back({peer, from, send.bytes()});
      exchange.recvs.push_back({peer, to, recv_bytes});
    }
    to += recv_bytes;
  }
  return start(std::move(exchange));
}

GroupImpl::WorkPtr HostGroup::broadcast(const Call& call, const Tensor& tensor, int root) {
  Exchange exchange{.call = call};
  if (rank() == root) {
    char* data = outgoing(exchange, tensor);
    for (int peer = 0; peer < size(); ++peer) {
      if (peer != root) exchange.sends.push_back({peer, data, tensor.bytes()});
    }
  } else {
    exchange.recvs.push_back({root, incoming(exchange, tensor), tensor.bytes()});
  }
  return start(std::move(exchange));
}

GroupImpl::WorkPtr HostGroup::send(const Call& call, const Tensor& tensor, int to) {
  sent_.resize(static_cast<size_t>(size()));
  Exchange exchange{.call = call};
  exchange.sends.push_back({to, outgoing(exchange, tensor), tensor.bytes()});
  exchange.call.sequence = sent_[static_cast<size_t>(to)]++;
  return start(std::move(exchange));
}

GroupImpl::WorkPtr HostGroup::recv(const Call& call, const Tensor& tensor, int from) {
  received_.resize(static_cast<size_t>(size()));
  Exchange exchange{.call = call};
  exchange.recvs.push_back({from, incoming(exchange, tensor), tensor.bytes()});
  exchange.call.sequence = received_[static_cast<size_t>(from)]++;
  return start(std::move(exchange));
}

GroupImpl::WorkPtr HostGroup::barrier(const Call& call) {
  Exchange exchange{.call = call};
  for (int peer = 0; peer < size(); ++peer) {
    if (peer == rank()) continue;
    exchange.sends.push_back({peer, nullptr, 0});
    exchange.recvs.push_back({peer, nullptr, 0});
  }
  return start(std::move(exchange));
}

}  // namespace orthant
