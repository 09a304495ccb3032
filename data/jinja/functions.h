// SPDX-License-Identifier: Apache-2.0
// What templates can call by name: filters, tests, methods of Python's types, global functions.
//
// What Jinja or Python has and is not built has its name in a list, so that a template that uses it
// is refused when it is parsed, and not taken for one with a typing error.
#pragma once

#include <string_view>

#include "data/jinja/value.h"

namespace orthant::jinja {

using FilterFunction = Value (*)(Render&, const Value&, const Arguments&);
using TestFunction = bool (*)(Render&, const Value&, const Arguments&);

// null: there is none.
FilterFunction find_filter(std::string_view name);
TestFunction find_test(std::string_view name);
bool is_unbuilt_filter(std::string_view name);
bool is_unbuilt_test(std::string_view name);
bool is_unbuilt_global(std::string_view name);
// A method of str, dict or list that Python has and that is not built.
bool is_unbuilt_method(std::string_view name);

// range, dict, namespace, raise_exception, strftime_now; undefined when there is none.
Value global_function(std::string_view name);
// `value.name` where Python's type has such an attribute; undefined when it has none.
// Error(kData) where it has one that is not built.
Value type_attribute(Render& render, const Value& value, std::string_view name);

}  // namespace orthant::jinja
