// SPDX-License-Identifier: Apache-2.0
// Names of filters.
#include <algorithm>
#include <array>

#include "data/jinja/filters.h"
#include "data/jinja/functions.h"

namespace orthant::jinja {
namespace {

struct Filter {
  std::string_view name;
  FilterFunction call;
};
constexpr std::array<Filter, 39> kFilters = {{
    {"abs", filters::abs},
    {"batch", filters::batch},
    {"capitalize", filters::capitalize},
    {"count", filters::length},
    {"d", filters::default_value},
    {"default", filters::default_value},
    {"dictsort", filters::dictsort},
    {"e", filters::escape},
    {"escape", filters::escape},
    {"first", filters::first},
    {"float", filters::to_float},
    {"indent", filters::indent},
    {"int", filters::to_int},
    {"items", filters::items},
    {"join", filters::join},
    {"last", filters::last},
    {"length", filters::length},
    {"list", filters::list},
    {"lower", filters::lower},
    {"map", filters::map},
    {"max", filters::max},
    {"min", filters::min},
    {"reject", filters::reject},
    {"rejectattr", filters::rejectattr},
    {"replace", filters::replace},
    {"reverse", filters::reverse},
    {"round", filters::round},
    {"safe", filters::safe},
    {"select", filters::select},
    {"selectattr", filters::selectattr},
    {"sort", filters::sort},
    {"string", filters::string},
    {"sum", filters::sum},
    {"title", filters::title},
    {"tojson", filters::tojson},
    {"trim", filters::trim},
    {"unique", filters::unique},
    {"upper", filters::upper},
    {"wordcount", filters::wordcount},
}};
constexpr std::array<std::string_view, 15> kOtherFilters = {
    "attr",  "center",    "filesizeformat", "forceescape", "format", "groupby",  "pprint", "random",
    "slice", "striptags", "truncate",       "urlencode",   "urlize", "wordwrap", "xmlattr"};

}  // namespace

FilterFunction find_filter(std::string_view name) {
  for (const Filter& filter : kFilters)
    if (filter.name == name) return filter.call;
  return nullptr;
}
bool is_unbuilt_filter(std::string_view name) {
  return std::find(kOtherFilters.begin(), kOtherFilters.end(), name) != kOtherFilters.end();
}

}  // namespace orthant::jinja
