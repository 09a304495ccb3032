// SPDX-License-Identifier: Apache-2.0
// Methods of Python's types that are built.
#pragma once

#include <string_view>

#include "data/jinja/value.h"

namespace orthant::jinja {

struct Method {
  const char* name;
  Value (*call)(Render&, const Value& self, const Arguments&);
};

// null: there is none.
const Method* find_text_method(std::string_view name);

}  // namespace orthant::jinja
