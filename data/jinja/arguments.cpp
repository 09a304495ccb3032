// SPDX-License-Identifier: Apache-2.0
#include "data/jinja/arguments.h"

#include <algorithm>

#include "data/jinja/operators.h"
#include "data/jinja/render.h"

namespace orthant::jinja {

Bound::Bound(Render& render, std::string_view function, const Arguments& arguments,
             std::initializer_list<const char*> names, size_t required, bool takes_names)
    : render_(render), function_(function), names_(names), values_(names.size(), nullptr) {
  const auto& positional = arguments.positional;
  if (positional.size() > names.size())
    render.fail(function, ": want at most ", names.size(), " arguments, got ", positional.size());
  for (size_t i = 0; i < positional.size(); ++i) values_[i] = &positional[i];
  for (const auto& [name, value] : arguments.named) {
    const auto found = std::find(names.begin(), names.end(), name);
    if (found == names.end() || !takes_names)
      render.fail(function, ": no argument is named '", name, "'");
    const auto i = static_cast<size_t>(found - names.begin());
    if (values_[i]) render.fail(function, ": argument '", name, "' is there twice");
    values_[i] = &value;
  }
  for (size_t i = 0; i < required; ++i)
    if (!values_[i]) render.fail(function, ": argument '", names.begin()[i], "' is missing");
}

bool Bound::truth(size_t i, bool otherwise) const {
  return has(i) ? jinja::truth(render_, *values_[i]) : otherwise;
}
int64_t Bound::integer(size_t i, int64_t otherwise) const {
  if (!has(i)) return otherwise;
  if (!values_[i]->is_integer())
    render_.fail(function_, ": argument '", names_[i], "' wants an integer, got ",
                 values_[i]->type_name());
  return values_[i]->as_int();
}
const std::string& Bound::text(size_t i) const {
  if (!values_[i]->is(Type::kString))
    render_.fail(function_, ": argument '", names_[i], "' wants a text, got ",
                 values_[i]->type_name());
  return values_[i]->bytes();
}

}  // namespace orthant::jinja
