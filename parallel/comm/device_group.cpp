// SPDX-License-Identifier: Apache-2.0
#include "parallel/comm/device_group.h"

#include <cstring>
#include <map>

#include "base/error.h"
#include "parallel/comm/device_work.h"
#include "parallel/comm/group.h"
#include "parallel/comm/group_call.h"

namespace orthant {
namespace {

// Waits until every rank's end of a communicator is there.
class ConnectWork : public WorkImpl {
 public:
  ConnectWork(std::shared_ptr<GroupImpl> group, const Call& call, std::shared_ptr<DeviceComm> comm)
      : WorkImpl(std::move(group), call, {}), comm_(std::move(comm)) {
    ++group_->state().silent_operations;
  }
  ~ConnectWork() override { --group_->state().silent_operations; }
  std::vector<int> missing() const override { return {}; }
  std::string advice() const override {
    return "the ranks' devices do not find each other; parallel.device_transport: staged goes "
           "without it";
  }

 protected:
  bool advance() override {
    group_->state().check_alive();
    const Progress progress = comm_->connect();
    if (progress == Progress::kFailed)
      throw_error(ErrorKind::kComm,
                  concat("connecting group ", group_->name(), " at ", text_of(call_.site),
                         " on rank ", group_->world_rank(group_->rank()), ", ",
                         name_of(comm_->device()), ": ", comm_->error()),
                  call_.site);
    return progress == Progress::kDone;
  }

 private:
  std::shared_ptr<DeviceComm> comm_;
};

// Ranks of the communicator of one direction between two members.
constexpr int kSender = 0, kReceiver = 1;

Tensor headers_for(int count) {
  return Tensor::empty({count, static_cast<int64_t>(sizeof(Header))}, DType::kU8);
}

void set_header(const Tensor& headers, size_t row, const Header& header) {
  std::memcpy(static_cast<char*>(headers.data()) + row * sizeof(Header), &header, sizeof(Header));
}

int64_t row_bytes(const Tensor& tensor) {
  return tensor.dim(0) == 0 ? 0 : tensor.bytes() / tensor.dim(0);
}

class DeviceGroup : public GroupImpl {
 public:
  DeviceGroup(std::shared_ptr<GroupImpl> host, Device device)
      : GroupImpl(host->shared_state(), host->rank(), host->name(), host->world_ranks()),
        host_(std::move(host)),
        device_(device) {}

  void connect(const Site& site);

  int64_t next_sequence() override { return host_->next_sequence(); }
  int64_t reserve_sequence(const Tensor& tensor) override {
    const int64_t sequence = next_sequence();
    if (is_ours(tensor)) all_->unposted.insert(sequence);
    return sequence;
  }
  std::shared_ptr<GroupImpl> split(int color, const std::vector<int>& members,
                                   const std::string& name) override;
  WorkPtr all_to_all(const Call& call, const Tensor& send, std::span<const int64_t> send_rows,
                     const Tensor& recv, std::span<const int64_t> recv_rows) override;
  WorkPtr all_gather(const Call& call, const Tensor& send, const Tensor& recv,
                     std::span<const int64_t> recv_rows) override;
  WorkPtr broadcast(const Call& call, const Tensor& tensor, int root) override;
  WorkPtr send(const Call& call, const Tensor& tensor, int to) override;
  WorkPtr recv(const Call& call, const Tensor& tensor, int from) override;
  WorkPtr barrier(const Call& call) override { return host_->barrier(call); }

 private:
  bool is_ours(const Tensor& tensor) const { return tensor.device() == device_; }
  WorkPtr start_collective(const Call& call, DeviceExchange exchange);
  WorkPtr start(const Call& call, std::shared_ptr<Channel> channel, int64_t order,
                DeviceExchange exchange, DeviceWork::Twin twin);
  // From or to a peer; a channel that receives has no communicator yet.
  std::shared_ptr<Channel>& channel_to(int peer);
  std::shared_ptr<Channel>& channel_from(int peer);

  std::shared_ptr<GroupImpl> host_;
  Device device_;
  std::shared_ptr<Channel> all_;
  std::map<int, std::shared_ptr<Channel>> to_, from_;
};

// The part of an operation's call that its twin has: no line of its own in the ring.
Call twin_of(const Call& call) {
  Call twin = call;
  twin.record = -1;
  return twin;
}

void DeviceGroup::connect(const Site& site) {
  const Group host(host_);
  const Tensor bytes = Tensor::zeros({static_cast<int64_t>(sizeof(BackendCommId))}, DType::kU8);
  all_ = std::make_shared<Channel>();
  if (rank() == 0) {
    all_->id = DeviceComm::make_id(device_);
    std::memcpy(bytes.data(), &all_->id, sizeof(BackendCommId));
  }
  host.broadcast(bytes, 0, site).wait();
  std::memcpy(&all_->id, bytes.data(), sizeof(BackendCommId));
  const Call call = comm::make_call(*this, OpKind::kControl, "connect", Tensor(), site);
  all_->comm = std::make_shared<DeviceComm>(device_, all_->id, rank(), size(), name());
  Work(std::make_shared<ConnectWork>(shared_from_this(), call, all_->comm)).wait();
}

std::shared_ptr<GroupImpl> DeviceGroup::split(int color, const std::vector<int>& members,
                                              const std::string& name) {
  std::shared_ptr<GroupImpl> host = host_->split(color, members, name);
  return host ? make_device_group(std::move(host), device_) : nullptr;
}

GroupImpl::WorkPtr DeviceGroup::all_to_all(const Call& call, const Tensor& send,
                                           std::span<const int64_t> send_rows, const Tensor& recv,
                                           std::span<const int64_t> recv_rows) {
  if (!is_ours(send) || !is_ours(recv))
    return host_->all_to_all(call, send, send_rows, recv, recv_rows);
  DeviceExchange exchange{.keep = {send, recv}};
  char* from = static_cast<char*>(send.data());
  char* to = static_cast<char*>(recv.data());
  for (int peer = 0; peer < size(); ++peer) {
    const auto i = static_cast<size_t>(peer);
    const int64_t send_bytes = send_rows[i] * row_bytes(send);
    const int64_t recv_bytes = recv_rows[i] * row_bytes(recv);
    if (peer == rank()) {
      exchange.own_from = from;
      exchange.own_to = to;
      exchange.own_bytes = send_bytes;
    } else {
      exchange.sends.push_back({peer, from, send_bytes});
      exchange.recvs.push_back({peer, to, recv_bytes});
    }
    from += send_bytes;
    to += recv_bytes;
  }
  return start_collective(call, std::move(exchange));
}

GroupImpl::WorkPtr DeviceGroup::all_gather(const Call& call, const Tensor& send, const Tensor& recv,
                                           std::span<const int64_t> recv_rows) {
  if (!is_ours(send) || !is_ours(recv)) return host_->all_gather(call, send, recv, recv_rows);
  DeviceExchange exchange{.keep = {send, recv}};
  char* to = static_cast<char*>(recv.data());
  for (int peer = 0; peer < size(); ++peer) {
    const int64_t recv_bytes = recv_rows[static_cast<size_t>(peer)] * row_bytes(recv);
    if (peer == rank()) {
      exchange.own_from = send.data();
      exchange.own_to = to;
      exchange.own_bytes = send.data() == to ? 0 : recv_bytes;
    } else {
      exchange.sends.push_back({peer, send.data(), send.bytes()});
      exchange.recvs.push_back({peer, to, recv_bytes});
    }
    to += recv_bytes;
  }
  return start_collective(call, std::move(exchange));
}

GroupImpl::WorkPtr DeviceGroup::broadcast(const Call& call, const Tensor& tensor, int root) {
  if (!is_ours(tensor)) return host_->broadcast(call, tensor, root);
  DeviceExchange exchange{.keep = {tensor}};
  for (int peer = 0; peer < size(); ++peer) {
    if (peer == rank()) continue;
    exchange.sends.push_back({peer, tensor.data(), rank() == root ? tensor.bytes() : 0});
    exchange.recvs.push_back({peer, tensor.data(), peer == root ? tensor.bytes() : 0});
  }
  return start_collective(call, std::move(exchange));
}

// Sends and receives of every peer, empty ones too: their headers are exchanged all the same.
GroupImpl::WorkPtr DeviceGroup::start_collective(const Call& call, DeviceExchange exchange) {
  const Tensor mine = headers_for(size());
  DeviceWork::Twin twin{.headers = headers_for(size() - 1)};
  std::vector<int64_t> send_rows(static_cast<size_t>(size()), 1);
  send_rows[static_cast<size_t>(rank())] = 0;
  for (size_t i = 0; i < exchange.sends.size(); ++i) {
    set_header(mine, i, {.bytes = exchange.sends[i].bytes});
    twin.peers.push_back(exchange.recvs[i].peer);
    twin.wanted_bytes.push_back(exchange.recvs[i].bytes);
  }
  twin.work = host_->all_to_all(twin_of(call), mine.slice(0, size() - 1), send_rows, twin.headers,
                                send_rows);
  return start(call, all_, call.sequence, std::move(exchange), std::move(twin));
}

GroupImpl::WorkPtr DeviceGroup::send(const Call& call, const Tensor& tensor, int to) {
  if (!is_ours(tensor)) return host_->send(call, tensor, to);
  const std::shared_ptr<Channel>& channel = channel_to(to);
  const Tensor header = headers_for(1);
  set_header(header, 0, {.bytes = tensor.bytes(), .id = channel->id});
  DeviceWork::Twin twin{.work = host_->send(twin_of(call), header, to), .peers = {to}};
  return start(call, channel, channel->num_calls++,
               {.sends = {{kReceiver, tensor.data(), tensor.bytes()}}, .keep = {tensor}},
               std::move(twin));
}

GroupImpl::WorkPtr DeviceGroup::recv(const Call& call, const Tensor& tensor, int from) {
  if (!is_ours(tensor)) return host_->recv(call, tensor, from);
  const std::shared_ptr<Channel>& channel = channel_from(from);
  DeviceWork::Twin twin{
      .headers = headers_for(1), .peers = {from}, .wanted_bytes = {tensor.bytes()}};
  twin.work = host_->recv(twin_of(call), twin.headers, from);
  return start(call, channel, channel->num_calls++,
               {.recvs = {{kSender, tensor.data(), tensor.bytes()}}, .keep = {tensor}},
               std::move(twin));
}

GroupImpl::WorkPtr DeviceGroup::start(const Call& call, std::shared_ptr<Channel> channel,
                                      int64_t order, DeviceExchange exchange,
                                      DeviceWork::Twin twin) {
  const auto is_empty = [](const BackendMessage& message) { return message.bytes == 0; };
  std::erase_if(exchange.sends, is_empty);
  std::erase_if(exchange.recvs, is_empty);
  auto work = std::make_shared<DeviceWork>(shared_from_this(), call, device_, std::move(channel),
                                           order, std::move(exchange), std::move(twin));
  if (!work->test()) state().add(work);
  return work;
}

std::shared_ptr<Channel>& DeviceGroup::channel_to(int peer) {
  std::shared_ptr<Channel>& channel = to_[peer];
  if (!channel) {
    channel = std::make_shared<Channel>();
    channel->id = DeviceComm::make_id(device_);
    channel->comm = std::make_shared<DeviceComm>(
        device_, channel->id, kSender, 2,
        concat(name(), " ", world_rank(rank()), " to ", world_rank(peer)));
  }
  return channel;
}

std::shared_ptr<Channel>& DeviceGroup::channel_from(int peer) {
  std::shared_ptr<Channel>& channel = from_[peer];
  if (!channel) {
    channel = std::make_shared<Channel>();
    channel->name = concat(name(), " ", world_rank(peer), " to ", world_rank(rank()));
  }
  return channel;
}

}  // namespace

std::shared_ptr<GroupImpl> make_device_group(std::shared_ptr<GroupImpl> host, Device device,
                                             const Site& site) {
  if (host->size() == 1) return host;
  auto group = std::make_shared<DeviceGroup>(std::move(host), device);
  group->connect(site);
  return group;
}

}  // namespace orthant
