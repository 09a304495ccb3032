// SPDX-License-Identifier: Apache-2.0
#include "parallel/comm/device_work.h"

#include <algorithm>
#include <cstring>

#include "base/error.h"

namespace orthant {

DeviceWork::DeviceWork(std::shared_ptr<GroupImpl> group, const Call& call, Device device,
                       std::shared_ptr<Channel> channel, int64_t order, DeviceExchange exchange,
                       Twin twin)
    : WorkImpl(std::move(group), call, exchange.keep),
      device_(device),
      channel_(std::move(channel)),
      order_(order),
      exchange_(std::move(exchange)),
      twin_(std::move(twin)) {
  channel_->unposted.insert(order_);
  ++group_->state().silent_operations;
}

DeviceWork::~DeviceWork() {
  if (!is_done_on_device_) --group_->state().silent_operations;
}

bool DeviceWork::advance() {
  group_->state().check_alive();
  if (twin_.work && twin_.work->test()) accept_headers();
  // What is first received waits for the header that names the communicator.
  const bool is_next = !ticket_ && !is_done_on_device_ && *channel_->unposted.begin() == order_;
  if (is_next && channel_->comm) post();
  if (ticket_) {
    const Progress progress = ticket_->query();
    if (progress == Progress::kFailed) fail(channel_->comm->error());
    if (progress == Progress::kDone) {
      ticket_.reset();
      is_done_on_device_ = true;
      --group_->state().silent_operations;
    }
  }
  return is_done_on_device_ && !twin_.work;
}

void DeviceWork::accept_headers() {
  twin_.work = nullptr;
  for (size_t i = 0; i < twin_.wanted_bytes.size(); ++i) {
    Header header;
    std::memcpy(&header, static_cast<const char*>(twin_.headers.data()) + i * sizeof(Header),
                sizeof(Header));
    const int peer = group_->world_rank(twin_.peers[i]);
    if (header.bytes != twin_.wanted_bytes[i])
      fail(concat("ranks disagree on operation ", call_.sequence, ": rank ", peer, " sends ",
                  header.bytes, " bytes where ", twin_.wanted_bytes[i], " are wanted"));
    if (!channel_->comm)
      channel_->comm =
          std::make_shared<DeviceComm>(device_, header.id, /*rank=*/1, /*size=*/2, channel_->name);
  }
}

void DeviceWork::post() {
  ticket_ = channel_->comm->exchange({.sends = exchange_.sends.data(),
                                      .recvs = exchange_.recvs.data(),
                                      .num_sends = static_cast<int32_t>(exchange_.sends.size()),
                                      .num_recvs = static_cast<int32_t>(exchange_.recvs.size()),
                                      .own_from = exchange_.own_from,
                                      .own_to = exchange_.own_to,
                                      .own_bytes = exchange_.own_bytes});
  if (!ticket_) fail(channel_->comm->error());
  channel_->unposted.erase(order_);
}

std::vector<int> DeviceWork::missing() const {
  std::vector<int> ranks = twin_.work ? twin_.work->missing() : std::vector<int>();
  if (!ranks.empty() || call_.kind != OpKind::kSendRecv) return ranks;
  return {group_->world_rank(twin_.peers.front())};
}

std::string DeviceWork::advice() const {
  if (!missing().empty()) return WorkImpl::advice();
  return concat("every rank has posted it, but ", name_of(device_), " of rank ",
                group_->world_rank(group_->rank()),
                ticket_ ? " does not complete it" : " completes nothing before it",
                ": a device or a link is stuck; parallel.device_transport: staged goes without it");
}

void DeviceWork::give_up() {
  WorkImpl::give_up();
  if (channel_->comm && !is_done_on_device_) channel_->comm->abort();
}

void DeviceWork::fail(const std::string& what) const {
  if (channel_->comm) channel_->comm->abort();
  throw_error(
      ErrorKind::kComm,
      concat(call_.op, " of ", human_bytes(static_cast<double>(call_.bytes)), " ",
             name_of(call_.dtype), " on group ", group_->name(), " at ", text_of(call_.site),
             " on rank ", group_->world_rank(group_->rank()), ", ", name_of(device_), ": ", what),
      call_.site);
}

}  // namespace orthant
