// SPDX-License-Identifier: Apache-2.0
#include "parallel/comm/transport.h"

#include <unistd.h>

#include <array>
#include <cstdlib>
#include <map>
#include <sstream>

#include "base/error.h"
#include "base/log.h"
#include "parallel/comm/device_group.h"
#include "tensor/backend.h"

namespace orthant {
namespace {

RankDevice this_rank(Device device) {
  const Backend& backend = backend_on(device);
  std::array<char, 512> text{};
  const BackendCall call{.stream = nullptr, .error = text.data(), .error_size = text.size()};
  BackendDevice described{};
  ORTHANT_CHECK(backend.describe_device(&call, device.index, &described) == 0, kDevice,
                name_of(device), ": ", text.data());
  std::array<char, 256> host{};
  gethostname(host.data(), host.size() - 1);
  const char* host_id = std::getenv("NCCL_HOSTID");
  return {.host = host.data(),
          .uuid = described.uuid,
          .host_id = host_id ? host_id : "",
          .has_comm = backend.comm != nullptr};
}

// A line for each field; none of them has line breaks.
std::string to_text(const RankDevice& rank) {
  return concat(rank.host, "\n", rank.uuid, "\n", rank.host_id, "\n", rank.has_comm ? "1" : "0");
}

RankDevice from_text(const std::string& text) {
  RankDevice rank;
  std::istringstream lines(text);
  std::string has_comm;
  std::getline(lines, rank.host);
  std::getline(lines, rank.uuid);
  std::getline(lines, rank.host_id);
  std::getline(lines, has_comm);
  rank.has_comm = has_comm == "1";
  return rank;
}

struct Pair {
  size_t first, second;
};

// The first two ranks of a machine with one device; with `apart`, only where NCCL would see it.
bool find_sharing(const std::vector<RankDevice>& ranks, bool apart, Pair& pair) {
  std::map<std::array<std::string, 3>, size_t> seen;
  for (size_t r = 0; r < ranks.size(); ++r) {
    const RankDevice& rank = ranks[r];
    const auto [first, is_new] =
        seen.try_emplace({rank.host, rank.uuid, apart ? rank.host_id : ""}, r);
    if (is_new) continue;
    pair = {first->second, r};
    return true;
  }
  return false;
}

}  // namespace

Transport choose_transport(const std::vector<RankDevice>& ranks, DeviceTransport wanted) {
  if (wanted == DeviceTransport::kStaged)
    return {.is_direct = false, .why = "parallel.device_transport: staged"};
  const bool is_forced = wanted == DeviceTransport::kNccl;
  for (size_t r = 0; r < ranks.size(); ++r) {
    if (ranks[r].has_comm) continue;
    ORTHANT_CHECK(!is_forced, kDevice, "parallel.device_transport: nccl: the backend of rank ", r,
                  " has no communication between devices; use staged or auto");
    return {.is_direct = false,
            .why = concat("the backend of rank ", r, " has no communication between devices")};
  }
  Pair pair{};
  if (find_sharing(ranks, is_forced, pair)) {
    const std::string who = concat("ranks ", pair.first, " and ", pair.second, " share the device ",
                                   ranks[pair.first].uuid, " of ", ranks[pair.first].host);
    ORTHANT_CHECK(!is_forced, kConfig, "parallel.device_transport: nccl: ", who,
                  "; use staged or auto, or give each rank's process an NCCL_HOSTID of its own");
    return {.is_direct = false, .why = who};
  }
  return {
      .is_direct = true,
      .why = is_forced ? "parallel.device_transport: nccl" : "every rank has a device of its own"};
}

Group connect_devices(const Group& group, Device device, DeviceTransport wanted) {
  if (group.size() == 1 || device.is_cpu()) return group;
  std::vector<RankDevice> ranks;
  for (const std::string& text : group.gather_text(to_text(this_rank(device))))
    ranks.push_back(from_text(text));
  const Transport transport = choose_transport(ranks, wanted);
  if (group.rank() == 0)
    log::info(
        "transport between devices: ", transport.is_direct ? "nccl" : "staged through host memory",
        ", because ", transport.why);
  return transport.is_direct ? Group(make_device_group(group.impl(), device)) : group;
}

}  // namespace orthant
