// SPDX-License-Identifier: Apache-2.0
// What tests make of the fake devices, and what they saw.  Lives in the test program, which gives
// it to the plugin.
#pragma once

#include <atomic>
#include <cstdint>

namespace orthant::testing {

struct FakeControl {
  std::atomic<int> num_devices{8};
  std::atomic<bool> share_uuids{false};  // all devices say that they are one
  // Messages between devices.  Ranks are those of a communicator.
  std::atomic<double> delay_seconds{0};  // longest time from the last post of a message to its end
  std::atomic<int> stalled_rank{-1};     // takes part in exchanges that never move
  std::atomic<int> failing_rank{-1};     // finds its communicator broken
  std::atomic<int> absent_rank{-1};      // never finishes connecting
  std::atomic<int64_t> num_exchanges{0}, num_messages{0}, num_aborts{0};
  std::atomic<int64_t> num_comms{0};  // alive
  // Memory given out.
  std::atomic<int> last_allocation_device{-1};
  std::atomic<int64_t> staging_bytes{0};  // of the host

  void reset() {
    num_devices = 8;
    share_uuids = false;
    delay_seconds = 0;
    stalled_rank = failing_rank = absent_rank = -1;
    num_exchanges = num_messages = num_aborts = 0;
  }
};

FakeControl& fake_control();

}  // namespace orthant::testing
