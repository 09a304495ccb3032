// SPDX-License-Identifier: Apache-2.0
// The names of an enum's values, as users write them.
#pragma once

#include <initializer_list>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "base/error.h"

namespace orthant {

template <class E>
class EnumNames {
 public:
  EnumNames(std::initializer_list<std::pair<E, const char*>> names) : names_(names) {}

  std::string of(E value) const {
    for (const auto& [known, name] : names_)
      if (known == value) return name;
    throw_error(ErrorKind::kInternal, concat("no name for value ", static_cast<int>(value)));
  }
  std::optional<E> find(std::string_view text) const {
    for (const auto& [value, name] : names_)
      if (name == text) return value;
    return std::nullopt;
  }
  // Of a text that is one of the names; Error(kInternal) otherwise.
  E at(std::string_view text) const {
    const std::optional<E> value = find(text);
    ORTHANT_CHECK(value.has_value(), kInternal, "'", text, "' names no value");
    return *value;
  }
  std::vector<std::string> all() const {
    std::vector<std::string> texts;
    for (const auto& entry : names_) texts.emplace_back(entry.second);
    return texts;
  }

 private:
  std::vector<std::pair<E, const char*>> names_;
};

}  // namespace orthant
