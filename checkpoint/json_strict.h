// SPDX-License-Identifier: Apache-2.0
// JSON of files that nobody vouches for.
#pragma once

#include <cstdint>
#include <nlohmann/json_fwd.hpp>
#include <string>
#include <string_view>
#include <vector>

namespace orthant {

// One JSON value and nothing behind it.  Error(kData), beginning with `what`, on malformed text,
// invalid UTF-8, a key used twice in one object, or nesting deeper than 16.
nlohmann::json parse_json(std::string_view text, const std::string& what);

// An integer in [0, 2^63).  Error(kData): "`what`: want an integer >= 0, got ...".
int64_t json_count(const nlohmann::json& value, const std::string& what);
const std::string& json_string(const nlohmann::json& value, const std::string& what);
// A list of integers in [0, limit), such as token ids.
std::vector<int32_t> json_ids(const nlohmann::json& value, int64_t limit, const std::string& what);
// A member of an object; Error(kData) when `object` is none or has no such key.
const nlohmann::json& json_member(const nlohmann::json& object, const char* key,
                                  const std::string& what);
// A copy of the value for messages, cut short.
std::string json_excerpt(const nlohmann::json& value);

}  // namespace orthant
