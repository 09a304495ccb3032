// SPDX-License-Identifier: Apache-2.0
// Arguments of a call by the names of its parameters, as Python binds them.
#pragma once

#include <initializer_list>
#include <string>
#include <string_view>
#include <vector>

#include "data/jinja/value.h"

namespace orthant::jinja {

class Render;

class Bound {
 public:
  // Error(kData), beginning with `function`, on too many arguments, an unknown name, one given
  // twice, or fewer than `required`.  `names` are literals.
  Bound(Render& render, std::string_view function, const Arguments& arguments,
        std::initializer_list<const char*> names, size_t required = 0, bool takes_names = true);

  bool has(size_t i) const { return values_[i] != nullptr; }
  bool has_value(size_t i) const { return has(i) && !values_[i]->is(Type::kNone); }
  const Value& operator[](size_t i) const { return *values_[i]; }
  Value value(size_t i, Value otherwise) const { return has(i) ? *values_[i] : otherwise; }
  bool truth(size_t i, bool otherwise) const;
  // Error on another type.
  int64_t integer(size_t i, int64_t otherwise) const;
  const std::string& text(size_t i) const;  // of one that is there

 private:
  Render& render_;
  std::string_view function_;
  std::vector<const char*> names_;
  std::vector<const Value*> values_;
};

}  // namespace orthant::jinja
