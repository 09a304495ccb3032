// SPDX-License-Identifier: Apache-2.0
// A value of a JSON file together with where it stands, so that every error names file and path:
// "FILE: $.model.merges[7]: want ..., got ...".
#pragma once

#include <nlohmann/json.hpp>
#include <string>

#include "base/error.h"

namespace orthant {

using Json = nlohmann::json;

// Error(kData) for what is no JSON, and for nesting deeper than 64; `label` stands for the file.
Json parse_json(const std::string& content, const std::string& label);

// Refers to a value of a tree that must outlive it.  All errors are Error(kData).
class JsonPlace {
 public:
  JsonPlace(const Json& value, std::string label) : JsonPlace(value, label + ": $", 0) {}

  const Json& value() const { return *value_; }
  bool is_null() const { return value_->is_null(); }
  bool has(const char* key) const;               // and it is not null
  JsonPlace at(const std::string& key) const;    // must be there
  JsonPlace find(const std::string& key) const;  // null where it is missing
  JsonPlace at(size_t index) const;
  size_t size() const;  // of an array; anything else is an error

  const std::string& text() const;
  const std::string& text(const char* key) const { return at(key).text(); }
  bool flag(const char* key, bool otherwise) const;  // a missing or null one is `otherwise`
  int64_t number(int64_t most) const;                // a whole number in [0, most]

  template <class... Parts>
  [[noreturn]] void refuse(const Parts&... parts) const {
    throw_error(ErrorKind::kData, concat(where_, ": ", parts...));
  }
  // The same for a part of this program that does not exist: WHAT is not supported.
  [[noreturn]] void refuse_name(const std::string& what) const;

 private:
  JsonPlace(const Json& value, std::string where, int) : value_(&value), where_(std::move(where)) {}
  const char* kind() const { return value_->type_name(); }

  const Json* value_;
  std::string where_;
};

}  // namespace orthant
