// SPDX-License-Identifier: Apache-2.0
#include "data/bpe/json_place.h"

namespace orthant {
namespace {

constexpr int kMaxDepth = 64;
const Json kNull;

// The deepest nesting, without a parser: a tree of it would not fit the stack that frees it.
int depth_of(const std::string& content) {
  int depth = 0, deepest = 0;
  bool in_string = false;
  for (size_t i = 0; i < content.size(); ++i) {
    const char c = content[i];
    if (in_string) {
      if (c == '\\') ++i;
      if (c == '"') in_string = false;
    } else if (c == '"') {
      in_string = true;
    } else if (c == '{' || c == '[') {
      deepest = std::max(deepest, ++depth);
    } else if (c == '}' || c == ']') {
      --depth;
    }
  }
  return deepest;
}

}  // namespace

Json parse_json(const std::string& content, const std::string& label) {
  ORTHANT_CHECK(depth_of(content) <= kMaxDepth, kData, label, ": nested deeper than ", kMaxDepth,
                " levels");
  try {
    return Json::parse(content);
  } catch (const Json::parse_error& error) {
    throw_error(ErrorKind::kData,
                concat(label, ": is not valid JSON, or cut off, at byte ", error.byte));
  }
}

bool JsonPlace::has(const char* key) const {
  return value_->is_object() && value_->contains(key) && !(*value_)[key].is_null();
}

JsonPlace JsonPlace::at(const std::string& key) const {
  if (!value_->is_object()) refuse("want an object, got ", kind());
  const auto found = value_->find(key);
  if (found == value_->end()) refuse("want a member \"", key, "\", which is missing");
  return {*found, concat(where_, ".", key), 0};
}

JsonPlace JsonPlace::find(const std::string& key) const {
  if (!value_->is_object()) refuse("want an object, got ", kind());
  const auto found = value_->find(key);
  return {found == value_->end() ? kNull : *found, concat(where_, ".", key), 0};
}

JsonPlace JsonPlace::at(size_t index) const {
  if (index >= size()) refuse("want more than ", index, " elements, got ", size());
  return {(*value_)[index], concat(where_, "[", index, "]"), 0};
}

size_t JsonPlace::size() const {
  if (!value_->is_array()) refuse("want an array, got ", kind());
  return value_->size();
}

const std::string& JsonPlace::text() const {
  if (!value_->is_string()) refuse("want a text, got ", kind());
  return value_->get_ref<const std::string&>();
}

bool JsonPlace::flag(const char* key, bool otherwise) const {
  const JsonPlace place = find(key);
  if (place.is_null()) return otherwise;
  if (!place.value_->is_boolean()) place.refuse("want true or false, got ", place.kind());
  return place.value_->get<bool>();
}

int64_t JsonPlace::number(int64_t most) const {
  if (!value_->is_number_unsigned() || value_->get<uint64_t>() > static_cast<uint64_t>(most))
    refuse("want a whole number in [0, ", most, "], got ",
           value_->is_number() ? value_->dump() : kind());
  return value_->get<int64_t>();
}

void JsonPlace::refuse_name(const std::string& what) const {
  refuse("'", valid_utf8(what), "' is not supported");
}

}  // namespace orthant
