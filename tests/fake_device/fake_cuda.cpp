// SPDX-License-Identifier: Apache-2.0
// A plugin that passes the CPU's table off as that of several devices: what the program does with
// device tensors can be tested without one.  cpu_backend() and fake_control() are those of the
// program that opens it.
#include "tests/fake_device/fake_cuda.h"

#include <cstdio>
#include <map>
#include <mutex>

#include "tests/fake_device/fake_control.h"

namespace orthant::testing {
namespace {

thread_local int thread_device = 0;

struct Block {
  int64_t bytes;
  int device;
};
struct Blocks {
  std::mutex mutex;
  std::map<const char*, Block> by_address;
};
Blocks& blocks() {
  static auto* all = new Blocks;
  return *all;
}

int describe_device(const BackendCall*, int32_t index, BackendDevice* device) {
  *device = {};
  std::snprintf(device->name, sizeof(device->name), "fake device");
  std::snprintf(device->uuid, sizeof(device->uuid), "FAKE-%d",
                fake_control().share_uuids ? 0 : index);
  return 0;
}

int use_device(const BackendCall* call, int32_t index) {
  if (index < 0 || index >= fake_control().num_devices) return fail(call, "no such fake device");
  thread_device = index;
  return 0;
}

int allocate(const BackendCall* call, int64_t bytes, void** block) {
  if (cpu_backend().allocate(call, bytes, block) != 0) return 1;
  fake_control().last_allocation_device = thread_device;
  const std::lock_guard lock(blocks().mutex);
  blocks().by_address[static_cast<const char*>(*block)] = {bytes, thread_device};
  return 0;
}

int deallocate(const BackendCall* call, void* block) {
  {
    const std::lock_guard lock(blocks().mutex);
    blocks().by_address.erase(static_cast<const char*>(block));
  }
  return cpu_backend().deallocate(call, block);
}

int allocate_host(const BackendCall* call, int64_t bytes, void** block) {
  fake_control().staging_bytes += bytes;
  return cpu_backend().allocate(call, bytes, block);
}

Backend make_table() {
  Backend table = cpu_backend();
  table.name = "fake";
  table.device_count = [](const BackendCall*, int32_t* count) {
    *count = fake_control().num_devices;
    return 0;
  };
  table.describe_device = describe_device;
  table.use_device = use_device;
  table.allocate = allocate;
  table.deallocate = deallocate;
  table.allocate_host = allocate_host;
  table.comm = &fake_comm();
  return table;
}

}  // namespace

int fail(const BackendCall* call, const char* what) {
  if (call && call->error && call->error_size > 0)
    std::snprintf(call->error, static_cast<size_t>(call->error_size), "fake: %s", what);
  return 1;
}

int current_device() { return thread_device; }

int device_of_address(const void* address) {
  const auto* at = static_cast<const char*>(address);
  const std::lock_guard lock(blocks().mutex);
  auto next = blocks().by_address.upper_bound(at);
  if (next == blocks().by_address.begin()) return -1;
  --next;
  return at < next->first + next->second.bytes ? next->second.device : -1;
}

}  // namespace orthant::testing

extern "C" const orthant::Backend* orthant_backend_v1(const orthant::BackendHost*) {
  static const orthant::Backend table = orthant::testing::make_table();
  return &table;
}
