// SPDX-License-Identifier: Apache-2.0
// Where a tensor's memory is.
#pragma once

#include <cstdint>
#include <string>

namespace orthant {

// kMeta has no memory and computes nothing (tensor/meta/backend.cpp).
enum class DeviceType : int32_t { kCpu, kCuda, kMeta };

struct Device {
  DeviceType type = DeviceType::kCpu;
  int32_t index = 0;
  bool operator==(const Device&) const = default;
  bool is_cpu() const { return type == DeviceType::kCpu; }
  bool is_meta() const { return type == DeviceType::kMeta; }
};
std::string name_of(Device device);  // "cpu", "cuda:0"

}  // namespace orthant
