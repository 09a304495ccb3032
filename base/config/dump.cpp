// SPDX-License-Identifier: Apache-2.0
#include "base/config/config.h"
#include "base/config/scalar_text.h"
#include "base/config/schema.h"
#include "base/text.h"

namespace orthant {
namespace {

class DumpVisitor : public FieldVisitor {
 public:
  explicit DumpVisitor(size_t indent) : indent_(indent) {}
  const std::string& text() const { return text_; }

  void field(std::string_view name, bool& value, std::string_view) override {
    line(name, value ? "true" : "false");
  }
  void field(std::string_view name, int64_t& value, IntBounds, std::string_view) override {
    line(name, concat(value));
  }
  void field(std::string_view name, double& value, RealBounds, std::string_view) override {
    line(name, real_text(value));
  }
  void field(std::string_view name, std::string& value, TextRule, std::string_view) override {
    line(name, yaml_scalar(value));
  }
  void field(std::string_view name, std::vector<double>& value, RealBounds,
             std::string_view) override {
    line(name, yaml_list(value));
  }
  void field(std::string_view name, std::vector<int64_t>& value, IntBounds,
             std::string_view) override {
    line(name, yaml_list(value));
  }
  void block(std::string_view name, std::string_view,
             const std::function<void(FieldVisitor&)>& fields) override {
    DumpVisitor inner(indent_ + 2);
    fields(inner);
    if (inner.text_.empty()) {
      line(name, "{}");
    } else {
      line(name, "");
      text_ += inner.text_;
    }
  }
  void list(std::string_view name, std::string_view, size_t size,
            const std::function<void(size_t)>&,
            const std::function<void(size_t, FieldVisitor&)>& item) override {
    line(name, size == 0 ? "[]" : "");
    for (size_t i = 0; i < size; ++i) {
      DumpVisitor inner(indent_ + 4);
      item(i, inner);
      std::string text = inner.text_.empty() ? std::string(indent_ + 4, ' ') + "{}\n" : inner.text_;
      text[indent_ + 2] = '-';
      text_ += text;
    }
  }

 private:
  void line(std::string_view name, const std::string& value) {
    text_ += concat(std::string(indent_, ' '), name, ":", value.empty() ? "" : " ", value, "\n");
  }
  size_t indent_;
  std::string text_;
};

}  // namespace

std::string dump_config(const FieldList& fields) {
  DumpVisitor visitor(0);
  fields(visitor);
  return visitor.text();
}

}  // namespace orthant
