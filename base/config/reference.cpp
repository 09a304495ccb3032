// SPDX-License-Identifier: Apache-2.0
#include <algorithm>
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

bool is_markup(char first) { return std::string_view("-+*#>=|").find(first) != std::string::npos; }

size_t num_characters(std::string_view text) {
  return static_cast<size_t>(
      std::ranges::count_if(text, [](unsigned char c) { return (c & 0xC0) != 0x80; }));
}

// `text` in lines of at most 100 columns, all but the first behind `indent` spaces.  Text in
// backticks stays in one line, and no line begins with what Markdown would take for a list, a
// heading or a quotation.
std::string wrapped(std::string_view text, size_t indent) {
  constexpr size_t kWidth = 100;
  std::string lines;
  size_t column = 0;
  for (size_t at = 0; at < text.size();) {
    bool code = false;
    size_t end = at;
    for (; end < text.size(); ++end) {
      code ^= text[end] == '`';
      const bool space = text[end] == ' ' || text[end] == '\n';
      const bool binds = end + 1 < text.size() && is_markup(text[end + 1]);
      if (space && !code && !binds) break;
    }
    const std::string_view word = text.substr(at, end - at);
    const size_t width = num_characters(word);
    const bool breaks = column > 0 && column + 1 + width > kWidth;
    if (breaks) {
      lines += concat("\n", std::string(indent, ' '));
      column = indent;
    } else if (column > 0) {
      lines += ' ';
      ++column;
    }
    lines += word;
    column += width;
    at = end + 1;
  }
  return lines;
}

// One block: a list of its keys, and after it the sections of the blocks inside.
class ReferenceVisitor : public FieldVisitor {
 public:
  ReferenceVisitor(std::string path, const AliasIndex& aliases)
      : path_(std::move(path)), aliases_(aliases) {}

  std::string text() const { return concat(entries_, entries_.empty() ? "" : "\n", sections_); }

  void field(std::string_view name, bool& value, std::string_view help) override {
    entry(name, "true or false", value ? "true" : "false", help);
  }
  void field(std::string_view name, int64_t& value, IntBounds bounds,
             std::string_view help) override {
    entry(name, wanted(bounds), concat(value), help);
  }
  void field(std::string_view name, double& value, RealBounds bounds,
             std::string_view help) override {
    entry(name, wanted(bounds), real_text(value), help);
  }
  void field(std::string_view name, std::string& value, TextRule rule,
             std::string_view help) override {
    std::string choices;
    for (const std::string& choice : rule.choices) {
      choices += concat(choices.empty() ? "" : ", ", "`", choice, "`");
    }
    entry(name, choices.empty() ? "a text" : concat("one of ", choices),
          rule.required && value.empty() ? "" : yaml_scalar(value), help);
  }
  void field(std::string_view name, std::vector<double>& value, RealBounds bounds,
             std::string_view help) override {
    entry(name, concat("a list, each ", wanted(bounds)), yaml_list(value), help);
  }
  void field(std::string_view name, std::vector<int64_t>& value, IntBounds bounds,
             std::string_view help) override {
    entry(name, concat("a list, each ", wanted(bounds)), yaml_list(value), help);
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
  void entry(std::string_view name, const std::string& value, const std::string& preset,
             std::string_view help) {
    std::string text = concat("- **`", name, "`** (", value, "; ",
                              preset.empty() ? "required" : concat("default `", preset, "`"), ")",
                              help.empty() ? "" : ": ", help);
    const auto found = aliases_.find(join_path(path_, name));
    if (found != aliases_.end()) {
      std::string names;
      for (const std::string& other : found->second) {
        names += concat(names.empty() ? "" : ", ", "`", other, "`");
      }
      text += concat(". Also accepted: ", names);
    }
    entries_ += concat(wrapped(text, 2), "\n");
  }
  void section(const ReferenceVisitor& inner, std::string_view help, const std::string& note) {
    sections_ += concat("## ", inner.path_, "\n\n", wrapped(help, 0), help.empty() ? "" : "\n\n",
                        wrapped(note, 0), note.empty() ? "" : "\n\n", inner.text());
  }

  std::string path_;
  const AliasIndex& aliases_;
  std::string entries_;
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
