// SPDX-License-Identifier: Apache-2.0
#include "parallel/comm/host_group.h"

#include <cstring>
#include <numeric>

#include "base/context.h"

namespace orthant {
namespace {

// What travels of a tensor: nothing of one that has no memory.
int64_t wire_bytes(const Tensor& tensor) { return tensor.device().is_meta() ? 0 : tensor.bytes(); }

int64_t row_bytes(const Tensor& tensor) {
  return tensor.dim(0) == 0 ? 0 : wire_bytes(tensor) / tensor.dim(0);
}

// This rank's own rows, which may already be there.
void copy_own(const Tensor& from, const Tensor& to) {
  if (from.bytes() == 0 || from.data() == to.data()) return;
  if (from.device().is_cpu() && to.device().is_cpu()) {
    std::memmove(to.data(), from.data(), static_cast<size_t>(from.bytes()));
  } else {
    copy(from, to);
  }
}

Tensor staging_for(const Tensor& tensor) {
  const CategoryScope scope(MemoryCategory::kCommunication);
  return Tensor::staging(tensor.shape(), tensor.dtype(), tensor.device());
}

}  // namespace

bool HostGroup::is_staged(const Tensor& tensor) const {
  return must_stage(tensor.device(), state().stage_everything);
}

HostGroup::Rows HostGroup::own_of(std::span<const int64_t> rows) const {
  const auto own = rows.begin() + rank();
  const int64_t begin = std::accumulate(rows.begin(), own, int64_t{0});
  return {begin, begin + *own};
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

// Own rows are skipped: what is before and behind them is staged apart.
GroupImpl::WorkPtr HostGroup::all_to_all(const Call& call, const Tensor& send,
                                         std::span<const int64_t> send_rows, const Tensor& recv,
                                         std::span<const int64_t> recv_rows) {
  const auto me = static_cast<size_t>(rank());
  const Rows own_send = own_of(send_rows), own_recv = own_of(recv_rows);
  Exchange exchange{.call = call};
  char* from = outgoing(exchange, send.slice(0, own_send.begin));
  char* to = incoming(exchange, recv.slice(0, own_recv.begin));
  for (size_t peer = 0; peer < send_rows.size(); ++peer) {
    if (peer == me) {
      copy_own(send.slice(own_send.begin, own_send.end), recv.slice(own_recv.begin, own_recv.end));
      from = outgoing(exchange, send.slice(own_send.end, send.dim(0)));
      to = incoming(exchange, recv.slice(own_recv.end, recv.dim(0)));
      continue;
    }
    const int64_t send_bytes = send_rows[peer] * row_bytes(send);
    const int64_t recv_bytes = recv_rows[peer] * row_bytes(recv);
    exchange.sends.push_back({static_cast<int>(peer), from, send_bytes});
    exchange.recvs.push_back({static_cast<int>(peer), to, recv_bytes});
    from += send_bytes;
    to += recv_bytes;
  }
  return start(std::move(exchange));
}

GroupImpl::WorkPtr HostGroup::all_gather(const Call& call, const Tensor& send, const Tensor& recv,
                                         std::span<const int64_t> recv_rows) {
  const auto me = static_cast<size_t>(rank());
  const Rows own = own_of(recv_rows);
  Exchange exchange{.call = call};
  char* const from = outgoing(exchange, send);
  char* to = incoming(exchange, recv.slice(0, own.begin));
  for (size_t peer = 0; peer < recv_rows.size(); ++peer) {
    if (peer == me) {
      copy_own(send, recv.slice(own.begin, own.end));
      to = incoming(exchange, recv.slice(own.end, recv.dim(0)));
      continue;
    }
    const int64_t recv_bytes = recv_rows[peer] * row_bytes(recv);
    exchange.sends.push_back({static_cast<int>(peer), from, wire_bytes(send)});
    exchange.recvs.push_back({static_cast<int>(peer), to, recv_bytes});
    to += recv_bytes;
  }
  return start(std::move(exchange));
}

GroupImpl::WorkPtr HostGroup::broadcast(const Call& call, const Tensor& tensor, int root) {
  Exchange exchange{.call = call};
  if (rank() == root) {
    char* data = outgoing(exchange, tensor);
    for (int peer = 0; peer < size(); ++peer) {
      if (peer != root) exchange.sends.push_back({peer, data, wire_bytes(tensor)});
    }
  } else {
    exchange.recvs.push_back({root, incoming(exchange, tensor), wire_bytes(tensor)});
  }
  return start(std::move(exchange));
}

GroupImpl::WorkPtr HostGroup::send(const Call& call, const Tensor& tensor, int to) {
  sent_.resize(static_cast<size_t>(size()));
  Exchange exchange{.call = call};
  exchange.sends.push_back({to, outgoing(exchange, tensor), wire_bytes(tensor)});
  exchange.call.sequence = sent_[static_cast<size_t>(to)]++;
  return start(std::move(exchange));
}

GroupImpl::WorkPtr HostGroup::recv(const Call& call, const Tensor& tensor, int from) {
  received_.resize(static_cast<size_t>(size()));
  Exchange exchange{.call = call};
  exchange.recvs.push_back({from, incoming(exchange, tensor), wire_bytes(tensor)});
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
