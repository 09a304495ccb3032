// SPDX-License-Identifier: Apache-2.0
#include "data/bpe/decoder.h"

#include <charconv>

#include "data/bpe/byte_alphabet.h"

namespace orthant {
namespace {

std::string replaced(std::string_view text, const std::string& from, const std::string& to) {
  std::string result;
  while (!text.empty()) {
    const bool is_here = text.starts_with(from);
    result += is_here ? std::string_view(to) : text.substr(0, 1);
    text.remove_prefix(is_here ? from.size() : 1);
  }
  return result;
}

std::string stripped(std::string_view text, const std::string& what, size_t start, size_t stop) {
  for (; start > 0 && text.starts_with(what); --start) text.remove_prefix(what.size());
  for (; stop > 0 && text.ends_with(what); --stop) text.remove_suffix(what.size());
  return std::string(text);
}

// "<0x0A>" is a byte.
std::optional<char> byte_of(std::string_view token) {
  unsigned byte = 0;
  if (token.size() != 6 || !token.starts_with("<0x") || token.back() != '>') return std::nullopt;
  const char* const end = token.data() + 5;
  if (std::from_chars(token.data() + 3, end, byte, 16).ptr != end) return std::nullopt;
  return static_cast<char>(byte);
}

}  // namespace

TokenDecoder::TokenDecoder(const JsonPlace& place) {
  if (place.is_null())
    place.refuse("want a decoder, got null, which would put a space between all tokens");
  add(place);
}

void TokenDecoder::add(const JsonPlace& place) {
  const std::string& type = place.text("type");
  if (is_fused_ && type != "Strip") place.refuse("'", type, "' behind Fuse is not supported");
  if (type == "Sequence") {
    const JsonPlace parts = place.at("decoders");
    for (size_t i = 0; i < parts.size(); ++i) add(parts.at(i));
  } else if (type == "ByteLevel") {
    steps_.push_back({.kind = Kind::kByteLevel});
  } else if (type == "ByteFallback") {
    steps_.push_back({.kind = Kind::kByteFallback});
  } else if (type == "Fuse") {
    is_fused_ = true;
  } else if (type == "Replace") {
    const std::string& from = place.at("pattern").text("String");
    if (from.empty()) place.at("pattern").refuse("want some text, got none");
    steps_.push_back({.kind = Kind::kReplace, .from = from, .to = place.text("content")});
  } else if (type == "Strip") {
    add_strip(place);
  } else if (type == "Metaspace") {
    const std::string& space = place.text("replacement");
    if (space.empty()) place.at("replacement").refuse("want one character, got none");
    steps_.push_back({.kind = Kind::kReplace, .from = space, .to = std::string(" ")});
    const bool never = place.has("prepend_scheme") ? place.text("prepend_scheme") == "never"
                                                   : !place.flag("add_prefix_space", true);
    if (never) return;
    dummy_ = std::string(" ");
    most_dummies_ = SIZE_MAX;
  } else {
    place.at("type").refuse_name(type);
  }
}

void TokenDecoder::add_strip(const JsonPlace& place) {
  const std::string& what = place.text("content");
  const auto start = static_cast<size_t>(place.at("start").number(1 << 20));
  const auto stop = static_cast<size_t>(place.at("stop").number(1 << 20));
  if (what.empty()) place.at("content").refuse("want one character, got none");
  if (!is_fused_) {
    steps_.push_back({.kind = Kind::kStrip, .from = what, .start = start, .stop = stop});
  } else {
    if (stop > 0 || start > 1 || !dummy_.empty())
      place.refuse("behind Fuse want start 1 and stop 0, once, got start ", start, ", stop ", stop);
    if (start == 1) dummy_ = what;
    most_dummies_ = start;
  }
}

std::string TokenDecoder::text_of(std::string_view token) const {
  std::string text(token);
  for (const Step& step : steps_) {
    if (step.kind == Kind::kByteLevel) {
      // Added tokens have other characters.
      if (auto bytes = bytes_of_token(text)) text = std::move(*bytes);
    } else if (step.kind == Kind::kReplace) {
      text = replaced(text, step.from, step.to);
    } else if (step.kind == Kind::kByteFallback) {
      if (const auto byte = byte_of(text)) {
        text.clear();
        text.push_back(*byte);
      }
    } else {
      text = stripped(text, step.from, step.start, step.stop);
    }
  }
  return text;
}

size_t TokenDecoder::dummy_bytes(std::string_view token) const {
  if (dummy_.empty()) return 0;
  const std::string text = text_of(token);
  size_t bytes = 0;
  for (size_t n = 0; n < most_dummies_ && std::string_view(text).substr(bytes).starts_with(dummy_);
       ++n)
    bytes += dummy_.size();
  return bytes;
}

}  // namespace orthant
