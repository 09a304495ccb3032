// SPDX-License-Identifier: Apache-2.0
// One rendering: where it is, what it has cost, what it owns.  Not shared between threads.
#pragma once

#include <functional>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "base/text.h"
#include "data/jinja/limits.h"
#include "data/jinja/source.h"
#include "data/jinja/value.h"

namespace orthant::jinja {

// The text of strftime(format) for the time that it is.
using Clock = std::function<std::string(const std::string& format)>;

struct Scope;

class Render {
 public:
  Render(const Source& source, const Clock& clock) : source_(source), clock_(clock) {}
  ~Render();  // breaks the cycles of namespaces and macros
  Render(const Render&) = delete;
  Render& operator=(const Render&) = delete;

  Place here;  // what is evaluated
  // Error(kData): "file:line: what was wrong".
  template <class... Parts>
  [[noreturn]] void fail(const Parts&... parts) const {
    fail_with(concat(parts...));
  }

  // What a template may cost (limits.h); Error(kData) when it is used up.
  void step(size_t steps = 1);
  void charge(size_t bytes);

  // Values, charged for.  A text keeps the mark of the one that it was made from.
  Value text(std::string bytes, bool is_markup = false);
  Value text_like(const Value& other, std::string bytes);
  Value list(std::vector<Value> items);
  Value tuple(std::vector<Value> items);
  Value dict(std::vector<std::pair<Value, Value>> items);
  Value view(const char* name, std::vector<Value> items);
  Value iterator(std::function<bool(Value&)> next, int depth);
  Value name_space(std::shared_ptr<Namespace> space);
  void keep(std::shared_ptr<Scope> scope);  // that a macro refers to

  std::string now(const std::string& format) const { return clock_(format); }

  // Counts expressions and statements in one another while it lives.
  class Deeper {
   public:
    explicit Deeper(Render& render);
    ~Deeper() { --render_.depth_; }

   private:
    Render& render_;
  };

 private:
  [[noreturn]] void fail_with(const std::string& message) const;
  Value bounded(Value value);

  const Source& source_;
  const Clock& clock_;
  int64_t steps_ = 0;
  size_t bytes_ = 0;
  int depth_ = 0;
  std::vector<std::shared_ptr<Namespace>> namespaces_;
  std::vector<std::shared_ptr<Scope>> scopes_;
};

}  // namespace orthant::jinja
