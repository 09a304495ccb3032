// SPDX-License-Identifier: Apache-2.0
// JSON as values of templates, keys in their order.
#pragma once

#include <nlohmann/json_fwd.hpp>
#include <string>

#include "data/jinja/value.h"

namespace orthant::jinja {

class Render;

// Error(kData), beginning with `what`, on text that is not UTF-8, integers beyond 64 bits, binary
// data, and nesting deeper than 64.
Value from_json(Render& render, const nlohmann::ordered_json& json, const std::string& what);

}  // namespace orthant::jinja
