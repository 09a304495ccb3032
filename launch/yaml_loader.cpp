// SPDX-License-Identifier: Apache-2.0
#include "launch/yaml_loader.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>
#include <yaml-cpp/eventhandler.h>
#include <yaml-cpp/exceptions.h>
#include <yaml-cpp/parser.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstring>
#include <sstream>
#include <tuple>
#include <unordered_set>

#include "base/error.h"

namespace orthant {
namespace {

// yaml-cpp looks ahead through unclosed brackets and keeps what it sees, before our handler can
// count levels: no text that people write has as many open ones.
constexpr int kMaxOpenBrackets = 1024;

[[noreturn]] void refuse(const YamlPlace& place, const std::string& message) {
  throw Error(ErrorKind::kConfig, concat(place.text(), ": ", message));
}

// Length of the valid UTF-8 sequence at `at`, 0 when there is none (RFC 3629, table 3-7 of
// Unicode).
size_t utf8_length(std::string_view text, size_t at) {
  const auto byte = [&](size_t i) {
    return i < text.size() ? static_cast<unsigned char>(text[i]) : 0u;
  };
  const auto tail = [&](size_t i) { return (byte(i) & 0xC0u) == 0x80u; };
  const unsigned first = byte(at), second = byte(at + 1);
  if (first < 0x80) return 1;
  if (first >= 0xC2 && first <= 0xDF) return tail(at + 1) ? 2 : 0;
  if (first >= 0xE0 && first <= 0xEF) {
    const bool overlong = first == 0xE0 && second < 0xA0;
    const bool surrogate = first == 0xED && second > 0x9F;
    return tail(at + 1) && tail(at + 2) && !overlong && !surrogate ? 3 : 0;
  }
  if (first >= 0xF0 && first <= 0xF4) {
    const bool overlong = first == 0xF0 && second < 0x90;
    const bool too_high = first == 0xF4 && second > 0x8F;
    return tail(at + 1) && tail(at + 2) && tail(at + 3) && !overlong && !too_high ? 4 : 0;
  }
  return 0;
}

// Everything that must hold before yaml-cpp sees a byte.
void check_bytes(std::string_view text, const YamlPlace& origin, bool is_file) {
  YamlPlace place = origin;
  if (is_file) place.line = place.column = 1;
  if (text.starts_with("\xFF\xFE") || text.starts_with("\xFE\xFF")) {
    refuse(place, "the text is UTF-16; save it as UTF-8");
  }
  if (text.size() > YamlLimits::kMaxBytes) {
    refuse(place, concat("larger than ", YamlLimits::kMaxBytes,
                         " bytes, the most a configuration may have"));
  }
  int open = 0;
  for (size_t i = 0; i < text.size();) {
    const char c = text[i];
    if (c == '\0') refuse(place, "a NUL byte; is this text in UTF-8?");
    const bool control =
        (static_cast<unsigned char>(c) < 0x20 || c == 0x7F) && c != '\t' && c != '\n' && c != '\r';
    if (control) refuse(place, "a control byte; save the file as plain text");
    const size_t length = utf8_length(text, i);
    if (length == 0) refuse(place, "bytes that are not valid UTF-8; save the file as UTF-8");
    if (c == '[' || c == '{') ++open;
    if ((c == ']' || c == '}') && open > 0) --open;
    if (open > kMaxOpenBrackets) {
      refuse(place, concat("nested deeper than ", YamlLimits::kMaxDepth, " levels"));
    }
    if (is_file) {
      if (c == '\n') {
        ++place.line;
        place.column = 1;
      } else {
        place.column += static_cast<int>(length);
      }
    }
    i += length;
  }
}

class Builder : public YAML::EventHandler {
 public:
  Builder(std::string_view text, const YamlPlace& origin, bool is_file)
      : text_(text), origin_(origin), is_file_(is_file) {}

  bool has_root() const { return has_root_; }
  YamlNode take_root() { return std::move(root_); }
  const std::string& duplicates() const { return duplicates_; }

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
    refuse(place(mark), marker ? "a second document begins here; a configuration is one document"
                               : "this does not belong to what stands before it; check the "
                                 "indentation");
  }
  void OnDocumentEnd() override {}
  void OnAlias(const YAML::Mark& mark, YAML::anchor_t) override {
    refuse(place(mark), "aliases (*name) are not accepted; write the value out, or quote the text");
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
      refuse(node.place,
             concat("the text ", describe(node),
                    " goes on over several lines; put it in quotes, or check for a missing ':'"));
    }
    attach(std::move(node));
  }
  void OnSequenceStart(const YAML::Mark& mark, const std::string& tag, YAML::anchor_t anchor,
                       YAML::EmitterStyle::value) override {
    open(YamlNode::Kind::kList, mark, tag, anchor);
  }
  void OnMapStart(const YAML::Mark& mark, const std::string& tag, YAML::anchor_t anchor,
                  YAML::EmitterStyle::value) override {
    open(YamlNode::Kind::kMap, mark, tag, anchor);
  }
  void OnSequenceEnd() override { close(); }
  void OnMapEnd() override { close(); }

 private:
  struct Frame {
    YamlNode node;
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
      refuse(node.place, concat("more than ", YamlLimits::kMaxNodes, " values"));
    }
    return node;
  }

  void check_properties(const YAML::Mark& mark, const std::string& tag, YAML::anchor_t anchor) {
    if (anchor != 0) {
      refuse(place(mark), "anchors (&name) are not accepted; write the value out where it is used");
    }
    const bool plain = tag.empty() || tag == "?" || (tag == "!" && !source(mark).starts_with("!"));
    if (!plain) refuse(place(mark), "tags (!type) are not accepted; quote a text that begins so");
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
    refuse(place(mark), concat("the quote ", at[0], " that opens here is never closed"));
  }

  void open(YamlNode::Kind kind, const YAML::Mark& mark, const std::string& tag,
            YAML::anchor_t anchor) {
    check_properties(mark, tag, anchor);
    YamlNode node = make(kind, mark);
    if (frames_.size() >= static_cast<size_t>(YamlLimits::kMaxDepth)) {
      refuse(node.place, concat("nested deeper than ", YamlLimits::kMaxDepth, " levels"));
    }
    if (!frames_.empty() && frames_.back().node.is_map() && !frames_.back().has_key) {
      refuse(node.place, "a key must be plain text");
    }
    frames_.push_back({.node = std::move(node)});
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
      refuse(node.place, "a key must be plain text");
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

// yaml-cpp's words, in ours.
std::string explain(const std::string& message, std::string_view line) {
  const size_t indent = line.find_first_not_of(" \t");
  const bool tab = line.substr(0, indent == std::string_view::npos ? 0 : indent).find('\t') !=
                   std::string_view::npos;
  if (tab) return "the line is indented with a tab; YAML wants spaces";
  struct Known {
    std::string_view words;
    const char* ours;
  };
  static constexpr std::array<Known, 9> kKnown = {{
      {"illegal map value",
       "unexpected ':'; put a text that holds ': ' in quotes, and check the indentation"},
      {"end of map not found", "cannot go on here; check the indentation and the quotes"},
      {"end of sequence not found", "cannot go on here; check the indentation of this list"},
      {"end of sequence flow not found", "a '[' is not closed, or a ',' is missing"},
      {"end of map flow not found", "a '{' is not closed, or a ',' is missing"},
      {"illegal flow end", "a closing bracket without its opening one"},
      {"unknown token", "a text cannot begin with this character; put it in quotes"},
      {"illegal EOF in scalar", "a quote is never closed"},
      {"anchor is not defined",
       "aliases (*name) are not accepted; write the value out, or quote the text"},
  }};
  for (const Known& known : kKnown) {
    if (message.find(known.words) != std::string::npos) return known.ours;
  }
  return message;
}

std::string_view line_at(std::string_view text, int number) {
  for (; number > 0; --number) {
    const size_t end = text.find('\n');
    if (end == std::string_view::npos) return {};
    text.remove_prefix(end + 1);
  }
  return text.substr(0, text.find('\n'));
}

// Directives are silently skipped by yaml-cpp.
void check_no_directive(std::string_view text, const YamlPlace& origin, bool is_file) {
  for (int number = 0; !text.empty(); ++number) {
    if (text[0] == '%') {
      YamlPlace place = origin;
      if (is_file) place.line = number + 1, place.column = 1;
      refuse(place, "directives (%) are not accepted");
    }
    const size_t word = text.find_first_not_of(" \t\r");
    if (word != std::string_view::npos && text[word] != '\n' && text[word] != '#') return;
    const size_t end = text.find('\n');
    if (end == std::string_view::npos) return;
    text.remove_prefix(end + 1);
  }
}

// The tree of one document; kNull when the text holds nothing.
YamlNode build(std::string_view text, const YamlPlace& origin, bool is_file) {
  check_bytes(text, origin, is_file);
  if (text.starts_with("\xEF\xBB\xBF")) text.remove_prefix(3);
  check_no_directive(text, origin, is_file);
  Builder builder(text, origin, is_file);
  std::istringstream stream{std::string(text)};
  try {
    YAML::Parser parser(stream);
    while (parser.HandleNextDocument(builder)) {
    }
  } catch (const YAML::Exception& error) {
    YAML::Mark mark = error.mark;
    if (mark.is_null()) mark = YAML::Mark();
    refuse(builder.place(mark), explain(error.msg, line_at(text, mark.line)));
  }
  if (!builder.duplicates().empty()) throw Error(ErrorKind::kConfig, builder.duplicates());
  return builder.take_root();
}

}  // namespace

std::string YamlPlace::text() const {
  return line == 0 ? file : concat(file, ":", line, ":", column);
}

bool operator<(const YamlPlace& a, const YamlPlace& b) {
  return std::tie(a.override_index, a.line, a.column) <
         std::tie(b.override_index, b.line, b.column);
}

YamlNode* YamlNode::find(std::string_view key) {
  for (Entry& entry : map) {
    if (entry.key == key) return &entry.value;
  }
  return nullptr;
}

const YamlNode* YamlNode::find(std::string_view key) const {
  return const_cast<YamlNode*>(this)->find(key);
}

const YamlNode* YamlNode::at(std::string_view path) const {
  const YamlNode* node = this;
  while (node && !path.empty()) {
    const std::string_view part = path.substr(0, path.find('.'));
    path.remove_prefix(std::min(path.size(), part.size() + 1));
    if (node->kind != Kind::kList) {
      node = node->find(part);
      continue;
    }
    size_t index = 0;
    for (const char c : part) {
      if (c < '0' || c > '9' || index > node->items.size()) return nullptr;
      index = index * 10 + static_cast<size_t>(c - '0');
    }
    node = index < node->items.size() ? &node->items[index] : nullptr;
  }
  return node;
}

YamlNode parse_yaml(std::string_view text, const std::string& name) {
  const YamlPlace origin{.file = name};
  YamlNode root = build(text, origin, /*is_file=*/true);
  if (root.kind == YamlNode::Kind::kNull) {
    refuse({.file = name, .line = 1, .column = 1},
           "the file is empty; want 'key: value' lines (write {} for all defaults)");
  }
  if (!root.is_map()) {
    const bool no_space =
        root.kind == YamlNode::Kind::kScalar && root.scalar.find(':') != std::string::npos;
    refuse(root.place, concat("want 'key: value' lines, got ", describe(root),
                              no_space ? "; a space is missing after ':'" : ""));
  }
  return root;
}

YamlNode parse_yaml_value(std::string_view text, const YamlPlace& place) {
  YamlNode node = build(text, place, /*is_file=*/false);
  if (node.place.file.empty()) node.place = place;
  return node;
}

YamlNode load_yaml(const std::string& path) {
  const auto unreadable = [&](ErrorKind kind, const std::string& why) {
    throw Error(kind, concat(path, ": cannot read the configuration: ", why));
  };
  const int fd = open(path.c_str(), O_RDONLY | O_CLOEXEC);
  if (fd < 0) unreadable(ErrorKind::kMissingInput, std::strerror(errno));
  struct Closer {
    int fd;
    ~Closer() { close(fd); }
  } closer{fd};
  struct stat info {};
  if (fstat(fd, &info) == 0 && S_ISDIR(info.st_mode)) {
    unreadable(ErrorKind::kConfig, "it is a directory; want a YAML file");
  }
  std::string text;
  std::array<char, 65536> buffer;
  while (text.size() <= YamlLimits::kMaxBytes) {  // also bounds pipes and devices
    const ssize_t got = read(fd, buffer.data(), buffer.size());
    if (got < 0 && errno == EINTR) continue;
    if (got < 0) unreadable(ErrorKind::kMissingInput, std::strerror(errno));
    if (got == 0) break;
    text.append(buffer.data(), static_cast<size_t>(got));
  }
  return parse_yaml(text, path);
}

std::string describe(const YamlNode& node) {
  switch (node.kind) {
    case YamlNode::Kind::kNull:
      return "nothing";
    case YamlNode::Kind::kMap:
      return "a mapping";
    case YamlNode::Kind::kList:
      return "a list";
    default:
      break;
  }
  constexpr size_t kMaxShown = 40;
  if (node.scalar.size() <= kMaxShown) return concat("'", node.scalar, "'");
  size_t cut = kMaxShown;
  while (cut > 0 && (node.scalar[cut] & 0xC0) == 0x80) --cut;  // never inside a character
  return concat("'", node.scalar.substr(0, cut), "...'");
}

}  // namespace orthant
