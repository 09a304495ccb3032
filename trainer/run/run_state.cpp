// SPDX-License-Identifier: Apache-2.0
#include "trainer/run/run_state.h"

#include <charconv>

#include "base/error.h"

namespace orthant {
namespace {

[[noreturn]] void no_nesting(std::string_view name) {
  throw_error(ErrorKind::kInternal, concat("run state: ", name, ": want a number or a text"));
}

// What both visitors have no use for.
class FlatVisitor : public FieldVisitor {
 public:
  void field(std::string_view name, std::vector<double>&, RealBounds, std::string_view) final {
    no_nesting(name);
  }
  void field(std::string_view name, std::vector<int64_t>&, IntBounds, std::string_view) final {
    no_nesting(name);
  }
  void block(std::string_view name, std::string_view,
             const std::function<void(FieldVisitor&)>&) final {
    no_nesting(name);
  }
  void list(std::string_view name, std::string_view, size_t, const std::function<void(size_t)>&,
            const std::function<void(size_t, FieldVisitor&)>&) final {
    no_nesting(name);
  }
  void alias(std::string_view, std::string_view) final {}
};

class Writer final : public FlatVisitor {
 public:
  using FlatVisitor::field;
  void field(std::string_view name, bool& value, std::string_view) override {
    texts[std::string(name)] = value ? "true" : "false";
  }
  void field(std::string_view name, int64_t& value, IntBounds, std::string_view) override {
    put(name, value);
  }
  void field(std::string_view name, double& value, RealBounds, std::string_view) override {
    put(name, value);
  }
  void field(std::string_view name, std::string& value, TextRule, std::string_view) override {
    texts[std::string(name)] = value;
  }
  std::map<std::string, std::string> texts;

 private:
  template <class T>
  void put(std::string_view name, T value) {
    char text[64];
    texts[std::string(name)] = {text, std::to_chars(text, text + sizeof(text), value).ptr};
  }
};

class Reader final : public FlatVisitor {
 public:
  Reader(const std::map<std::string, std::string>& texts, const std::string& where)
      : texts_(texts), where_(where) {}
  using FlatVisitor::field;
  void field(std::string_view name, bool& value, std::string_view) override {
    const std::string* text = find(name);
    if (text) value = *text == "true";
  }
  void field(std::string_view name, int64_t& value, IntBounds, std::string_view) override {
    take(name, value, "a whole number");
  }
  void field(std::string_view name, double& value, RealBounds, std::string_view) override {
    take(name, value, "a number");
  }
  void field(std::string_view name, std::string& value, TextRule, std::string_view) override {
    const std::string* text = find(name);
    if (text) value = *text;
  }

 private:
  const std::string* find(std::string_view name) const {
    const auto found = texts_.find(std::string(name));
    return found == texts_.end() ? nullptr : &found->second;
  }
  template <class T>
  void take(std::string_view name, T& value, const char* wanted) const {
    const std::string* text = find(name);
    if (!text) return;
    const char* end = text->data() + text->size();
    const auto [rest, error] = std::from_chars(text->data(), end, value);
    ORTHANT_CHECK(error == std::errc() && rest == end, kData, where_, ": ", name, ": want ", wanted,
                  ", got '", *text, "'");
  }

  const std::map<std::string, std::string>& texts_;
  const std::string& where_;
};

}  // namespace

std::map<std::string, std::string> state_texts(const FieldList& fields) {
  Writer writer;
  fields(writer);
  return std::move(writer.texts);
}

void read_state(const std::map<std::string, std::string>& texts, const std::string& where,
                const FieldList& fields) {
  Reader reader(texts, where);
  fields(reader);
}

}  // namespace orthant
