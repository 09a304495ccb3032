// SPDX-License-Identifier: Apache-2.0
#include <map>

#include "base/config/config.h"
#include "base/config/scalar_text.h"
#include "base/config/schema.h"
#include "base/text.h"

namespace orthant {
namespace {

// Full name of a key -> the other names it is accepted under.
using AliasIndex = std::map<std::string, std::vector<std::string>>;

void index_aliases(const Schema& schema, const std::string& path, AliasIndex& index) {
  for (const auto& [other, name] : schema.aliases) {
    index[join_path(path, name)].push_back(join_path(path, other));
  }
  for (const Schema::Key& key : schema.keys) {
    const bool list = key.kind == Schema::Key::Kind::kList;
    index_aliases(key.inner, concat(join_path(path, key.name), list ? "[]" : ""), index);
  }
}

std::string cell(std::string_view text) {
  std::string result;
  for (const char c : text) {
    if (c == '|') result += '\\';
    result += c == '\n' ? ' ' : c;
  }
  return result;
}

// One block: its table, and after it the sections of the blocks inside.
class ReferenceVisitor : public FieldVisitor {
 public:
  ReferenceVisitor(std::string path, const AliasIndex& aliases)
      : path_(std::move(path)), aliases_(aliases) {}

  std::string text() const {
    const std::string head = "| key | value | default | meaning |\n|---|---|---|---|\n";
    return concat(rows_.empty() ? "" : head, rows_, rows_.empty() ? "" : "\n", sections_);
  }

  void field(std::string_view name, bool& value, std::string_view help) override {
    row(name, "true or false", value ? "true" : "false", help);
  }
  void field(std::string_view name, int64_t& value, IntBounds bounds,
             std::string_view help) override {
    row(name, wanted(bounds), concat(value), help);
  }
  void field(std::string_view name, double& value, RealBounds bounds,
             std::string_view help) override {
    row(name, wanted(bounds), real_text(value), help);
  }
  void field(std::string_view name, std::string& value, TextRule rule,
             std::string_view help) override {
    std::string choices;
    for (const std::string& choice : rule.choices) {
      choices += concat(choices.empty() ? "" : ", ", "`", choice, "`");
    }
    row(name, choices.empty() ? "a text" : concat("one of ", choices),
        rule.required && value.empty() ? "" : yaml_scalar(value), help);
  }
  void field(std::string_view name, std::vector<double>& value, RealBounds bounds,
             std::string_view help) override {
    row(name, concat("a list, each ", wanted(bounds)), yaml_list(value), help);
  }
  void field(std::string_view name, std::vector<int64_t>& value, IntBounds bounds,
             std::string_view help) override {
    row(name, concat("a list, each ", wanted(bounds)), yaml_list(value), help);
  }
  void block(std::string_view name, std::string_view help,
             const std::function<void(FieldVisitor&)>& fields) override {
    ReferenceVisitor inner(join_path(path_, name), aliases_);
    fields(inner);
    section(inner, help, "");
  }
  void list(std::string_view name, std::string_view help, size_t size,
            const std::function<void(size_t)>& resize,
            const std::function<void(size_t, FieldVisitor&)>& item) override {
    ReferenceVisitor inner(concat(join_path(path_, name), "[]"), aliases_);
    visit_one_item(size, resize, item, inner);
    section(inner, help,
            "A list of blocks with the keys below; a plain text stands for the first key, and one "
            "item alone needs no list.");
  }

 private:
  void row(std::string_view name, const std::string& value, const std::string& preset,
           std::string_view help) {
    std::string meaning(help);
    const auto found = aliases_.find(join_path(path_, name));
    if (found != aliases_.end()) {
      std::string names;
      for (const std::string& other : found->second) {
        names += concat(names.empty() ? "" : ", ", "`", other, "`");
      }
      meaning += concat(meaning.empty() ? "" : ". ", "Also accepted: ", names);
    }
    const std::string shown = preset.empty() ? "required" : concat("`", preset, "`");
    rows_ +=
        concat("| `", name, "` | ", cell(value), " | ", cell(shown), " | ", cell(meaning), " |\n");
  }
  void section(const ReferenceVisitor& inner, std::string_view help, const std::string& note) {
    sections_ += concat("## ", inner.path_, "\n\n", help, help.empty() ? "" : "\n\n", note,
                        note.empty() ? "" : "\n\n", inner.text());
  }

  std::string path_;
  const AliasIndex& aliases_;
  std::string rows_;
  std::string sections_;
};

}  // namespace

std::string reference_page(const FieldList& fields, const std::string& title) {
  AliasIndex aliases;
  index_aliases(collect_schema(fields), "", aliases);
  ReferenceVisitor visitor("", aliases);
  fields(visitor);
  std::string text = concat("# ", title, "\n\n", visitor.text());
  while (text.ends_with("\n\n")) text.pop_back();
  return text;
}

}  // namespace orthant
