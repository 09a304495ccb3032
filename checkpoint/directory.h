// SPDX-License-Identifier: Apache-2.0
// Names inside <run>/checkpoints:
//   step-00000100/               a complete checkpoint: manifest.json and its shards
//   tmp-step-00000100-<id>/      one that is being written, or was when its job died
//   tmp-gc-step-00000100-<id>/   one that is being removed
//   latest                       a hint for people: the name of the newest one
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace orthant {

inline constexpr const char* kManifestName = "manifest.json";
inline constexpr const char* kLatestName = "latest";

std::string step_name(int64_t step);                         // "step-00000100"
std::optional<int64_t> step_of_name(std::string_view name);  // of exactly such a name
std::string shard_name(int64_t index, int64_t count);        // "shard-00000-of-00008.safetensors"
std::string temporary_name(int64_t step, const std::string& id);
bool is_temporary_name(std::string_view name);
// Steps of the complete checkpoints in a directory, ascending by number.
std::vector<int64_t> list_steps(const std::string& directory);

}  // namespace orthant
