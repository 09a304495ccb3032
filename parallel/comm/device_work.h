// SPDX-License-Identifier: Apache-2.0
// One operation of a device group (device_group.h) under way; for device_group.cpp only.
#pragma once

#include <memory>
#include <set>
#include <vector>

#include "parallel/comm/device_comm.h"
#include "parallel/comm/group_impl.h"

namespace orthant {

// A communicator and the order in which operations are posted on it (D1).
struct Channel {
  std::shared_ptr<DeviceComm> comm;  // null: made when the first header brings the id
  BackendCommId id{};
  std::string name;
  std::set<int64_t> unposted;  // sequence numbers
  int64_t num_calls = 0;       // of send or recv
};

// What each member tells each other one about an operation, through the host group.
struct Header {
  int64_t bytes = 0;   // that it sends
  BackendCommId id{};  // of a send's channel
};

struct DeviceExchange {
  std::vector<BackendMessage> sends, recvs;
  const void* own_from = nullptr;
  void* own_to = nullptr;
  int64_t own_bytes = 0;
  std::vector<Tensor> keep;
};

class DeviceWork : public WorkImpl {
 public:
  // Headers as they will come: row i is from member peers[i], and announces wanted_bytes[i].  The
  // one who sends gets none.
  struct Twin {
    std::shared_ptr<WorkImpl> work;
    Tensor headers;
    std::vector<int> peers;
    std::vector<int64_t> wanted_bytes;
  };

  // `order` is the operation's place in the channel.
  DeviceWork(std::shared_ptr<GroupImpl> group, const Call& call, Device device,
             std::shared_ptr<Channel> channel, int64_t order, DeviceExchange exchange, Twin twin);
  ~DeviceWork() override;

  std::vector<int> missing() const override;
  std::string advice() const override;
  void give_up() override;

 protected:
  bool advance() override;

 private:
  void accept_headers();
  void post();
  // Aborts the communicator and throws Error(kComm).
  [[noreturn]] void fail(const std::string& what) const;

  Device device_;
  std::shared_ptr<Channel> channel_;
  int64_t order_;
  DeviceExchange exchange_;
  Twin twin_;
  std::unique_ptr<DeviceComm::Ticket> ticket_;
  bool is_done_on_device_ = false;
};

}  // namespace orthant
