// SPDX-License-Identifier: Apache-2.0
#include "data/jinja/render.h"

#include "base/error.h"
#include "data/jinja/scope.h"

namespace orthant::jinja {

Render::~Render() {
  for (const auto& space : namespaces_) space->attributes.clear();
  for (const auto& scope : scopes_) scope->variables.clear();
}

void Render::fail_with(const std::string& message) const {
  throw Error(ErrorKind::kData, concat(source_.where(here), ": ", message));
}

void Render::step(size_t steps) {
  steps_ += static_cast<int64_t>(steps);
  if (steps_ > kMaxSteps)
    fail("the template takes more than ", kMaxSteps, " steps; no conversation needs as many");
}
void Render::charge(size_t bytes) {
  if (bytes > kMaxBytes - bytes_)
    fail("the template makes more than ", human_bytes(static_cast<double>(kMaxBytes)),
         " of values; no conversation needs as many");
  bytes_ += bytes;
}

Value Render::text(std::string bytes, bool is_markup) {
  charge(bytes.size() + sizeof(Text));
  return Value::text(std::move(bytes), is_markup);
}
Value Render::text_like(const Value& other, std::string bytes) {
  return text(std::move(bytes), other.is(Type::kString) && other.as_text().is_markup);
}
Value Render::bounded(Value value) {
  if (value.depth() > kMaxValueDepth)
    fail("a value is nested deeper than ", kMaxValueDepth, " levels");
  return value;
}
Value Render::list(std::vector<Value> items) {
  charge((items.size() + 2) * sizeof(Value));
  return bounded(Value::list(std::move(items)));
}
Value Render::tuple(std::vector<Value> items) {
  charge((items.size() + 2) * sizeof(Value));
  return bounded(Value::tuple(std::move(items)));
}
Value Render::dict(std::vector<std::pair<Value, Value>> items) {
  charge((items.size() + 1) * 2 * sizeof(Value));
  return bounded(Value::dict(std::move(items)));
}
Value Render::view(const char* name, std::vector<Value> items) {
  charge((items.size() + 2) * sizeof(Value));
  return bounded(Value::view(name, std::move(items)));
}
Value Render::iterator(std::function<bool(Value&)> next, int depth) {
  charge(8 * sizeof(Value));
  return bounded(Value::iterator(std::move(next), depth));
}
Value Render::name_space(std::shared_ptr<Namespace> space) {
  charge(8 * sizeof(Value));
  namespaces_.push_back(space);
  return Value::name_space(std::move(space));
}
void Render::keep(std::shared_ptr<Scope> scope) {
  charge(8 * sizeof(Value));
  scopes_.push_back(std::move(scope));
}

Render::Deeper::Deeper(Render& render) : render_(render) {
  if (++render_.depth_ > kMaxRenderDepth) {
    --render_.depth_;
    render_.fail("macros and blocks are nested deeper than ", kMaxRenderDepth,
                 " levels: does a macro call itself without end?");
  }
  render_.step();
}

}  // namespace orthant::jinja
