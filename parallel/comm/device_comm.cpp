// SPDX-License-Identifier: Apache-2.0
#include "parallel/comm/device_comm.h"

#include <exception>

#include "base/error.h"
#include "base/log.h"

namespace orthant {
namespace {

const BackendComm& comm_of(Device device) {
  const BackendComm* comm = backend_on(device).comm;
  ORTHANT_CHECK(comm != nullptr, kInternal, "a communicator on ", name_of(device),
                ": this backend has none");
  return *comm;
}

}  // namespace

BackendCommId DeviceComm::make_id(Device device) {
  std::array<char, 512> text{};
  const BackendCall call{.stream = nullptr, .error = text.data(), .error_size = text.size()};
  BackendCommId id{};
  ORTHANT_CHECK(comm_of(device).make_id(&call, &id) == 0, kComm, "a communicator on ",
                name_of(device), ": ", text.data());
  return id;
}

DeviceComm::DeviceComm(Device device, const BackendCommId& id, int rank, int size, std::string name)
    : device_(device), name_(std::move(name)) {
  const BackendCommArgs args{.id = id, .rank = rank, .size = size, .name = name_.c_str()};
  const BackendCall c = call();
  ORTHANT_CHECK(table().create(&c, &args, &handle_) == 0, kComm, "communicator ", name_,
                " on rank ", rank, " of ", size, ", ", name_of(device), ": ", error());
}

DeviceComm::~DeviceComm() {
  // Where an error ends this rank, peers need not come to an orderly end any more.
  if (num_under_way_ > 0 || std::uncaught_exceptions() > 0) abort();
  const BackendCall c = call();
  if (table().destroy(&c, handle_) != 0) log::warn("communicator ", name_, ": ", error());
}

const BackendComm& DeviceComm::table() const { return comm_of(device_); }

BackendCall DeviceComm::call() {
  text_[0] = 0;
  return {
      .stream = nullptr, .error = text_.data(), .error_size = static_cast<int64_t>(text_.size())};
}

Progress DeviceComm::connect() {
  int32_t ready = 0;
  const BackendCall c = call();
  if (table().poll(&c, handle_, &ready) != 0) return Progress::kFailed;
  return ready ? Progress::kDone : Progress::kNotYet;
}

std::unique_ptr<DeviceComm::Ticket> DeviceComm::exchange(const ExchangeArgs& args) {
  void* ticket = nullptr;
  const BackendCall c = call();
  if (table().exchange(&c, handle_, &args, &ticket) != 0) return nullptr;
  return std::make_unique<Ticket>(shared_from_this(), ticket);
}

void DeviceComm::abort() {
  if (aborted_) return;
  aborted_ = true;
  std::array<char, 512> text{};  // the error that led here stays
  const BackendCall c{.stream = nullptr, .error = text.data(), .error_size = text.size()};
  if (table().abort(&c, handle_) != 0) log::warn("communicator ", name_, ": ", text.data());
}

Progress DeviceComm::Ticket::query() {
  int32_t done = 0;
  const BackendCall c = comm_->call();
  if (comm_->table().query(&c, handle_, &done) != 0) return Progress::kFailed;
  if (done && !done_) {
    done_ = true;
    --comm_->num_under_way_;
  }
  return done ? Progress::kDone : Progress::kNotYet;
}

DeviceComm::Ticket::~Ticket() {
  if (!done_) {
    comm_->abort();
    --comm_->num_under_way_;
  }
  comm_->table().release(handle_);
}

}  // namespace orthant
