// SPDX-License-Identifier: Apache-2.0
#include "parallel/comm/host_group.h"

#include <cstring>

#include "base/error.h"

namespace orthant {
namespace {

int64_t row_bytes(const Tensor& tensor) {
  return tensor.dim(0) == 0 ? 0 : tensor.bytes() / tensor.dim(0);
}

void copy_local(char* to, const char* from, int64_t bytes) {
  if (bytes > 0 && to != from) std::memmove(to, from, static_cast<size_t>(bytes));
}

}  // namespace

char* HostGroup::host_data(const Call& call, const Tensor& tensor) const {
  ORTHANT_CHECK(tensor.device().is_cpu(), kDevice, call.op, " on group ", name(), ": ",
                describe(tensor),
                ": only host memory can be sent between ranks yet; use device: "
                "cpu, or one rank");
  return static_cast<char*>(tensor.data());
}

GroupImpl::WorkPtr HostGroup::start(Exchange exchange) {
  WorkPtr work = post(std::move(exchange));
  if (!work->test()) state().add(work);
  return work;
}

GroupImpl::WorkPtr HostGroup::all_to_all(const Call& call, const Tensor& send,
                                         std::span<const int64_t> send_rows, const Tensor& recv,
                                         std::span<const int64_t> recv_rows) {
  Exchange exchange{.call = call, .keep = {send, recv}};
  char *from = host_data(call, send), *to = host_data(call, recv);
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
  Exchange exchange{.call = call, .keep = {send, recv}};
  char *from = host_data(call, send), *to = host_data(call, recv);
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
  Exchange exchange{.call = call, .keep = {tensor}};
  char* data = host_data(call, tensor);
  if (rank() == root) {
    for (int peer = 0; peer < size(); ++peer) {
      if (peer != root) exchange.sends.push_back({peer, data, tensor.bytes()});
    }
  } else {
    exchange.recvs.push_back({root, data, tensor.bytes()});
  }
  return start(std::move(exchange));
}

GroupImpl::WorkPtr HostGroup::send(const Call& call, const Tensor& tensor, int to) {
  sent_.resize(static_cast<size_t>(size()));
  Exchange exchange{.call = call, .keep = {tensor}};
  exchange.sends.push_back({to, host_data(call, tensor), tensor.bytes()});
  exchange.call.sequence = sent_[static_cast<size_t>(to)]++;
  return start(std::move(exchange));
}

GroupImpl::WorkPtr HostGroup::recv(const Call& call, const Tensor& tensor, int from) {
  received_.resize(static_cast<size_t>(size()));
  Exchange exchange{.call = call, .keep = {tensor}};
  exchange.recvs.push_back({from, host_data(call, tensor), tensor.bytes()});
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
