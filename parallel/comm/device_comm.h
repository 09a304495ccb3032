// SPDX-License-Identifier: Apache-2.0
// One rank's end of a communicator of the devices' own (BackendComm, tensor/backend.h).
//
// Nothing here waits or throws but the constructor: whoever polls knows the operation that an error
// belongs to.  Used by the rank's own thread.
#pragma once

#include <array>
#include <memory>
#include <string>

#include "tensor/backend.h"

namespace orthant {

enum class Progress { kNotYet, kDone, kFailed };

class DeviceComm : public std::enable_shared_from_this<DeviceComm> {
 public:
  // Error(kComm) with the library's word.
  static BackendCommId make_id(Device device);
  // Begins to connect; ready when every rank of `size` has done so with the same id.  Error(kComm).
  DeviceComm(Device device, const BackendCommId& id, int rank, int size, std::string name);
  // Aborts what is still under way.
  ~DeviceComm();
  DeviceComm(const DeviceComm&) = delete;
  DeviceComm& operator=(const DeviceComm&) = delete;

  // An exchange under way; done or aborted when it goes.
  class Ticket {
   public:
    Ticket(std::shared_ptr<DeviceComm> comm, void* handle)
        : comm_(std::move(comm)), handle_(handle) {
      ++comm_->num_under_way_;
    }
    ~Ticket();
    Ticket(const Ticket&) = delete;
    Ticket& operator=(const Ticket&) = delete;
    Progress query();

   private:
    std::shared_ptr<DeviceComm> comm_;
    void* handle_;
    bool done_ = false;
  };

  Progress connect();                                          // kDone: every rank's end is there
  std::unique_ptr<Ticket> exchange(const ExchangeArgs& args);  // null: failed
  void abort();
  Device device() const { return device_; }
  std::string error() const { return text_.data(); }  // of the call that failed

 private:
  const BackendComm& table() const;  // with the calling thread turned to the device
  BackendCall call();

  Device device_;
  std::string name_;
  void* handle_ = nullptr;
  bool aborted_ = false;
  int num_under_way_ = 0;
  std::array<char, 512> text_{};
};

}  // namespace orthant
