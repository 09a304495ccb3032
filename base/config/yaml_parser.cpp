// SPDX-License-Identifier: Apache-2.0
#include <yaml-cpp/eventhandler.h>
#include <yaml-cpp/exceptions.h>
#include <yaml-cpp/parser.h>

#include <algorithm>
#include <sstream>
#include <unordered_set>

#include "base/config/yaml_loader.h"
#include "base/config/yaml_text.h"
#include "base/error.h"

namespace orthant {
namespace {

// Turns yaml-cpp's events into nodes; refuses what YamlNode has no place for.
class Builder : public YAML::EventHandler {
 public:
  Builder(std::string_view text, const YamlPlace& origin, bool is_file)
      : text_(text), origin_(origin), is_file_(is_file) {}

  bool has_root() const { return has_root_; }
  YamlNode take_root() { return std::move(root_); }
  const std::string& duplicates() const { return duplicates_; }

  // "; the '[' at 3:5 is still open": of the innermost bracket; "" when there is none.
  std::string open_bracket() const {
    for (auto frame = frames_.rbegin(); frame != frames_.rend(); ++frame) {
      if (frame->bracket == 0) continue;
      const YamlPlace& place = frame->node.place;
      return concat("; the '", frame->bracket, "' ",
                    is_file_ ? concat("at ", place.line, ":", place.column, " ") : "",
                    "is still open");
    }
    return "";
  }

  YamlPlace place(const YAML::Mark& mark) const {
    YamlPlace place = origin_;
    if (is_file_) {
      place.line = mark.line + 1;
      place.column = mark.column + 1;
    }
    return place;
  }

  void OnDocumentStart(const YAML::Mark& mark) override {
    if (!has_root_) return;
    const bool marker = source(mark).starts_with("---");
    refuse_yaml(place(mark), marker
                                 ? "a second document begins here; a configuration is one document"
                                 : "this does not belong to what stands before it; check the "
                                   "indentation");
  }
  void OnDocumentEnd() override {}
  void OnAlias(const YAML::Mark& mark, YAML::anchor_t) override {
    refuse_yaml(place(mark),
                "aliases (*name) are not accepted; write the value out, or quote the text");
  }
  void OnNull(const YAML::Mark& mark, YAML::anchor_t anchor) override {
    check_properties(mark, "", anchor);
    YamlNode node = make(YamlNode::Kind::kNull, mark);
    const std::string_view at = source(mark);
    node.empty_null = !at.starts_with("~") && !at.starts_with("null") && !at.starts_with("Null") &&
                      !at.starts_with("NULL");
    attach(std::move(node));
  }
  void OnScalar(const YAML::Mark& mark, const std::string& tag, YAML::anchor_t anchor,
                const std::string& value) override {
    check_properties(mark, tag, anchor);
    YamlNode node = make(YamlNode::Kind::kScalar, mark);
    node.scalar = value;
    node.quoted = tag == "!";
    if (node.quoted) {
      check_closed(mark);
    } else if (!source(mark).starts_with(value)) {
      const std::string bracket = open_bracket();
      refuse_yaml(node.place,
                  concat("the text ", describe(node), " goes on over several lines",
                         bracket.empty() ? "; check the indentation of the next line, or put the "
                                           "text in quotes"
                                         : bracket + ", or a ',' is missing"));
    }
    attach(std::move(node));
  }
  void OnSequenceStart(const YAML::Mark& mark, const std::string& tag, YAML::anchor_t anchor,
                       YAML::EmitterStyle::value style) override {
    open(YamlNode::Kind::kList, mark, tag, anchor, style);
  }
  void OnMapStart(const YAML::Mark& mark, const std::string& tag, YAML::anchor_t anchor,
                  YAML::EmitterStyle::value style) override {
    open(YamlNode::Kind::kMap, mark, tag, anchor, style);
  }
  void OnSequenceEnd() override { close(); }
  void OnMapEnd() override { close(); }

 private:
  struct Frame {
    YamlNode node;
    char bracket = 0;  // that opened it, if one did
    bool has_key = false;
    std::string key;
    YamlPlace key_place;
    std::unordered_set<std::string> keys;
  };

  std::string_view source(const YAML::Mark& mark) const {
    const auto position = static_cast<size_t>(std::max(mark.pos, 0));
    return position < text_.size() ? text_.substr(position) : std::string_view();
  }

  YamlNode make(YamlNode::Kind kind, const YAML::Mark& mark) {
    YamlNode node;
    node.kind = kind;
    node.place = place(mark);
    if (++num_nodes_ > YamlLimits::kMaxNodes) {
      refuse_yaml(node.place, concat("more than ", YamlLimits::kMaxNodes, " values"));
    }
    return node;
  }

  void check_properties(const YAML::Mark& mark, const std::string& tag, YAML::anchor_t anchor) {
    if (anchor != 0) {
      refuse_yaml(place(mark),
                  "anchors (&name) are not accepted; write the value out where it is used");
    }
    const bool plain = tag.empty() || tag == "?" || (tag == "!" && !source(mark).starts_with("!"));
    if (!plain)
      refuse_yaml(place(mark), "tags (!type) are not accepted; quote a text that begins so");
  }

  // yaml-cpp takes a quote that the file's end cuts off for closed.
  void check_closed(const YAML::Mark& mark) {
    const std::string_view at = source(mark);
    if (at.empty() || (at[0] != '\'' && at[0] != '"')) return;  // a block of text: | or >
    for (size_t i = 1; i < at.size(); ++i) {
      if (at[0] == '"' && at[i] == '\\') {
        ++i;
      } else if (at[i] == at[0]) {
        if (at[0] == '"' || i + 1 >= at.size() || at[i + 1] != '\'') return;
        ++i;
      }
    }
    refuse_yaml(place(mark), concat("the quote ", at[0], " that opens here is never closed"));
  }

  void open(YamlNode::Kind kind, const YAML::Mark& mark, const std::string& tag,
            YAML::anchor_t anchor, YAML::EmitterStyle::value style) {
    check_properties(mark, tag, anchor);
    YamlNode node = make(kind, mark);
    if (frames_.size() >= static_cast<size_t>(YamlLimits::kMaxDepth)) {
      refuse_yaml(node.place, concat("nested deeper than ", YamlLimits::kMaxDepth, " levels"));
    }
    if (!frames_.empty() && frames_.back().node.is_map() && !frames_.back().has_key) {
      const std::string bracket = open_bracket();
      refuse_yaml(node.place, "a key must be plain text" +
                                  (bracket.empty() ? "; is a bracket left open?" : bracket));
    }
    const std::string_view at = source(mark);
    const bool opens =
        style == YAML::EmitterStyle::Flow && (at.starts_with("[") || at.starts_with("{"));
    frames_.push_back({.node = std::move(node), .bracket = opens ? at[0] : '\0'});
  }

  void close() {
    YamlNode node = std::move(frames_.back().node);
    frames_.pop_back();
    attach(std::move(node));
  }

  void attach(YamlNode node) {
    if (frames_.empty()) {
      root_ = std::move(node);
      has_root_ = true;
      return;
    }
    Frame& top = frames_.back();
    if (!top.node.is_map()) {
      top.node.items.push_back(std::move(node));
    } else if (top.has_key) {
      top.node.map.push_back({std::move(top.key), top.key_place, std::move(node)});
      top.has_key = false;
    } else {
      take_key(top, node);
    }
  }

  void take_key(Frame& top, const YamlNode& node) {
    if (node.kind != YamlNode::Kind::kScalar || node.scalar.empty()) {
      refuse_yaml(node.place, "a key must be plain text");
    }
    if (!top.keys.insert(node.scalar).second) {
      YamlPlace first;
      for (const auto& entry : top.node.map) {
        if (entry.key == node.scalar) first = entry.key_place;
      }
      duplicates_ += concat(duplicates_.empty() ? "" : "\n", node.place.text(), ": duplicate key '",
                            node.scalar, "'; it stands at ",
                            is_file_ ? concat("line ", first.line) : "its first place", " already");
    }
    top.key = node.scalar;
    top.key_place = node.place;
    top.has_key = true;
  }

  std::string_view text_;
  YamlPlace origin_;
  bool is_file_;
  std::vector<Frame> frames_;
  YamlNode root_;
  bool has_root_ = false;
  size_t num_nodes_ = 0;
  std::string duplicates_;
};

// The tree of one document; kNull when the text holds nothing.
YamlNode build(std::string_view text, const YamlPlace& origin, bool is_file) {
  check_yaml_text(text, origin, is_file);
  if (text.starts_with("\xEF\xBB\xBF")) text.remove_prefix(3);
  Builder builder(text, origin, is_file);
  std::istringstream stream{std::string(text)};
  try {
    YAML::Parser parser(stream);
    while (parser.HandleNextDocument(builder)) {
    }
  } catch (const YAML::Exception& error) {
    YAML::Mark mark = error.mark;
    if (mark.is_null()) mark = YAML::Mark();
    refuse_yaml(builder.place(mark),
                explain_yaml_error(error.msg, text, mark.line) + builder.open_bracket());
  }
  if (!builder.duplicates().empty()) throw Error(ErrorKind::kConfig, builder.duplicates());
  return builder.take_root();
}

}  // namespace

YamlNode parse_yaml(std::string_view text, const std::string& name) {
  const YamlPlace origin{.file = name};
  YamlNode root = build(text, origin, /*is_file=*/true);
  if (root.kind == YamlNode::Kind::kNull) {
    refuse_yaml({.file = name, .line = 1, .column = 1},
                "the file is empty; want 'key: value' lines (write {} for all defaults)");
  }
  if (!root.is_map()) {
    const bool no_space =
        root.kind == YamlNode::Kind::kScalar && root.scalar.find(':') != std::string::npos;
    refuse_yaml(root.place, concat("want 'key: value' lines, got ", describe(root),
                                   no_space ? "; a space is missing after ':'" : ""));
  }
  return root;
}

YamlNode parse_yaml_value(std::string_view text, const YamlPlace& place) {
  YamlNode node = build(text, place, /*is_file=*/false);
  if (node.place.file.empty()) node.place = place;
  return node;
}

}  // namespace orthant
