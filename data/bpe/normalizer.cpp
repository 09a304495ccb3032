// SPDX-License-Identifier: Apache-2.0
#include "data/bpe/normalizer.h"

#include <utf8proc.h>

#include <algorithm>
#include <cstdlib>

#include "data/bpe/white_space.h"

namespace orthant {
namespace {

bool is_ascii(char c) { return static_cast<unsigned char>(c) < 0x80; }

// The next stretch that a Unicode form can change: characters beyond ASCII with the one before
// them, which they may join.  ASCII alone never changes.
struct Stretch {
  size_t begin, end;
};
Stretch next_stretch(std::string_view text, size_t from) {
  const auto begin = text.begin() + static_cast<std::ptrdiff_t>(from);
  const auto other = std::find_if_not(begin, text.end(), is_ascii);
  const auto end = std::find_if(other, text.end(), is_ascii);
  const auto first = other == begin ? other : other - 1;
  return {static_cast<size_t>(first - text.begin()), static_cast<size_t>(end - text.begin())};
}

void unicode_form(std::string_view text, int options, Rewriting& out) {
  for (size_t at = 0; at < text.size();) {
    const Stretch stretch = next_stretch(text, at);
    if (stretch.begin == stretch.end || stretch.begin == text.size())
      return out.keep(text.substr(at));
    out.keep(text.substr(at, stretch.begin - at));
    const std::string_view old = text.substr(stretch.begin, stretch.end - stretch.begin);
    utf8proc_uint8_t* made = nullptr;
    const utf8proc_ssize_t size = utf8proc_map(
        reinterpret_cast<const utf8proc_uint8_t*>(old.data()),
        static_cast<utf8proc_ssize_t>(old.size()), &made, static_cast<utf8proc_option_t>(options));
    ORTHANT_CHECK(size >= 0, kData, "tokenizer: normalizing fails: ", utf8proc_errmsg(size));
    const std::string_view text_made(reinterpret_cast<const char*>(made),
                                     static_cast<size_t>(size));
    if (text_made == old) {
      out.keep(old);
    } else {
      out.replace(old.size(), text_made);
    }
    std::free(made);
    at = stretch.end;
  }
}

void replace_matches(std::string_view text, const SplitPattern& pattern, const std::string& by,
                     Rewriting& out, MatchScratch& scratch) {
  for (size_t at = 0;;) {
    const SplitPattern::Found found = pattern.find(text, at, false, scratch);
    if (found.status != SplitPattern::Status::kMatch) return out.keep(text.substr(at));
    out.keep(text.substr(at, found.begin - at));
    out.replace(found.end - found.begin, by);
    at = found.end;
  }
}

int form_of(const std::string& type) {
  if (type == "NFC") return UTF8PROC_STABLE | UTF8PROC_COMPOSE;
  if (type == "NFD") return UTF8PROC_STABLE | UTF8PROC_DECOMPOSE;
  if (type == "NFKC") return UTF8PROC_STABLE | UTF8PROC_COMPOSE | UTF8PROC_COMPAT;
  if (type == "NFKD") return UTF8PROC_STABLE | UTF8PROC_DECOMPOSE | UTF8PROC_COMPAT;
  return 0;
}

}  // namespace

Normalizer::Normalizer(const JsonPlace& place) {
  if (!place.is_null()) add(place);
}

void Normalizer::add(const JsonPlace& place) {
  const std::string& type = place.text("type");
  if (type == "Sequence") {
    const JsonPlace parts = place.at("normalizers");
    for (size_t i = 0; i < parts.size(); ++i) add(parts.at(i));
  } else if (const int form = form_of(type)) {
    steps_.push_back({.kind = Kind::kUnicodeForm, .form = form});
  } else if (type == "Replace") {
    const JsonPlace pattern = place.at("pattern");
    steps_.push_back({.kind = Kind::kReplace,
                      .pattern = {SplitPattern::parse(pattern)},
                      .literal_bytes = pattern.has("String") ? pattern.text("String").size() : 0,
                      .text = place.text("content")});
  } else if (type == "Prepend") {
    steps_.push_back({.kind = Kind::kPrepend, .text = place.text("prepend")});
  } else if (type == "Strip") {
    steps_.push_back({.kind = Kind::kStrip,
                      .left = place.flag("strip_left", true),
                      .right = place.flag("strip_right", true)});
  } else {
    place.at("type").refuse_name(type);
  }
}

std::string_view Normalizer::apply(std::string_view text, bool begins,
                                   std::vector<Rewriting>& steps, MatchScratch& scratch) const {
  steps.clear();
  steps.reserve(steps_.size());  // views into them stay
  for (const Step& step : steps_) {
    Rewriting& out = steps.emplace_back();
    if (step.kind == Kind::kUnicodeForm) {
      unicode_form(text, step.form, out);
    } else if (step.kind == Kind::kReplace) {
      replace_matches(text, step.pattern.front(), step.text, out, scratch);
    } else if (step.kind == Kind::kPrepend) {
      if (begins && !text.empty()) out.replace(0, step.text);
      out.keep(text);
    } else {
      const size_t left = step.left ? leading_white_space(text) : 0;
      const std::string_view rest = text.substr(left);
      if (left > 0) out.replace(left, "");
      out.keep(rest.substr(0, rest.size() - (step.right ? trailing_white_space(rest) : 0)));
    }
    text = out.text();
  }
  return text;
}

bool Normalizer::can_cut() const {
  return std::ranges::none_of(steps_, [](const Step& step) {
    return step.kind == Kind::kStrip || (step.kind == Kind::kReplace && step.literal_bytes == 0);
  });
}

bool Normalizer::prepends() const {
  return std::ranges::any_of(steps_, [](const Step& s) { return s.kind == Kind::kPrepend; });
}

bool Normalizer::replaces() const {
  return std::ranges::any_of(steps_, [](const Step& s) { return s.kind == Kind::kReplace; });
}

size_t Normalizer::settled_bytes(std::string_view text) const {
  size_t settled = text.size(), literals = 0;
  for (const Step& step : steps_) {
    literals += step.literal_bytes;
    if (step.kind != Kind::kUnicodeForm) continue;
    while (settled > 0 && !is_ascii(text[settled - 1])) --settled;
    if (settled > 0) --settled;
  }
  return settled - std::min(settled, literals);
}

}  // namespace orthant
