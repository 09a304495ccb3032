// SPDX-License-Identifier: Apache-2.0
#include "base/config/yaml_loader.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstring>
#include <tuple>

#include "base/error.h"

namespace orthant {

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
