// SPDX-License-Identifier: Apache-2.0
#include "checkpoint/json_strict.h"

#include <limits>
#include <nlohmann/json.hpp>
#include <set>
#include <vector>

#include "base/error.h"

namespace orthant {

using nlohmann::json;

namespace {
constexpr int kMaxDepth = 16;
}

json parse_json(std::string_view text, const std::string& what) {
  std::vector<std::set<std::string>> keys;  // of the objects that are open
  const json::parser_callback_t check = [&](int depth, json::parse_event_t event, json& parsed) {
    ORTHANT_CHECK(depth <= kMaxDepth, kData, what, ": nested deeper than ", kMaxDepth);
    if (event == json::parse_event_t::object_start) {
      keys.emplace_back();
    } else if (event == json::parse_event_t::object_end) {
      keys.pop_back();
    } else if (event == json::parse_event_t::key) {
      const auto& key = parsed.get_ref<const std::string&>();
      ORTHANT_CHECK(keys.back().insert(key).second, kData, what, ": '", key, "' is there twice");
    }
    return true;
  };
  try {
    return json::parse(text.begin(), text.end(), check);
  } catch (const json::exception& error) {
    throw Error(ErrorKind::kData, concat(what, ": malformed JSON: ", plain_reason(error.what())));
  }
}

std::string json_excerpt(const json& value) {
  std::string text = value.dump(-1, ' ', true, json::error_handler_t::replace);
  if (text.size() > 60) text = text.substr(0, 57) + "...";
  return text;
}

int64_t json_count(const json& value, const std::string& what) {
  ORTHANT_CHECK(
      value.is_number_unsigned() &&
          value.get<uint64_t>() <= static_cast<uint64_t>(std::numeric_limits<int64_t>::max()),
      kData, what, ": want an integer >= 0, got ", json_excerpt(value));
  return static_cast<int64_t>(value.get<uint64_t>());
}

const std::string& json_string(const json& value, const std::string& what) {
  ORTHANT_CHECK(value.is_string(), kData, what, ": want a text, got ", json_excerpt(value));
  return value.get_ref<const std::string&>();
}

std::vector<int32_t> json_ids(const json& value, int64_t limit, const std::string& what) {
  ORTHANT_CHECK(value.is_array(), kData, what, ": want a list of ids, got ", json_excerpt(value));
  std::vector<int32_t> ids;
  for (const json& one : value) {
    const int64_t id = json_count(one, what);
    ORTHANT_CHECK(id < limit, kData, what, ": want ids below ", limit, ", got ", id);
    ids.push_back(static_cast<int32_t>(id));
  }
  return ids;
}

const json& json_member(const json& object, const char* key, const std::string& what) {
  ORTHANT_CHECK(object.is_object(), kData, what, ": want an object, got ", json_excerpt(object));
  const auto found = object.find(key);
  ORTHANT_CHECK(found != object.end(), kData, what, ": '", key, "' is missing");
  return *found;
}

}  // namespace orthant
