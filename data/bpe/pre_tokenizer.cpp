// SPDX-License-Identifier: Apache-2.0
#include "data/bpe/pre_tokenizer.h"

namespace orthant {
namespace {

// Of GPT-2 (Radford et al., 2019), which ByteLevel stands for.
constexpr const char* kGpt2 =
    R"('s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+)";

// The characters of words in Rust's expressions, which Whitespace is written in.
constexpr std::string_view kWord = R"(\p{Alphabetic}\p{M}\p{Nd}\p{Pc}\x{200c}\x{200d})";
constexpr std::string_view kSpace =
    R"(\x{9}-\x{d}\x{20}\x{85}\x{a0}\x{1680}\x{2000}-\x{200a}\x{2028}\x{2029}\x{202f}\x{205f})"
    R"(\x{3000})";
constexpr const char* kPunctuation = R"([!-/:-@\[-`{-~\p{P}])";

SplitBehavior behavior_of(const JsonPlace& place) {
  const std::string& name = place.text();
  if (name == "Isolated") return SplitBehavior::kIsolated;
  if (name == "Removed") return SplitBehavior::kRemoved;
  if (name == "MergedWithPrevious") return SplitBehavior::kMergedWithPrevious;
  if (name == "MergedWithNext") return SplitBehavior::kMergedWithNext;
  if (name == "Contiguous") return SplitBehavior::kContiguous;
  place.refuse_name(name);
}

std::string class_of(std::string_view a, std::string_view b = "") { return concat("[", a, b, "]"); }

}  // namespace

PreTokenizer::PreTokenizer(const JsonPlace& place) {
  if (!place.is_null()) add(place);
}

void PreTokenizer::add(const JsonPlace& place) {
  const std::string& type = place.text("type");
  if (is_byte_level_) place.refuse("a part behind ByteLevel is not supported");
  if (type == "Sequence") {
    const JsonPlace parts = place.at("pretokenizers");
    for (size_t i = 0; i < parts.size(); ++i) add(parts.at(i));
  } else if (type == "Split") {
    stages_.push_back({SplitPattern::parse(place.at("pattern")), behavior_of(place.at("behavior")),
                       place.flag("invert", false)});
  } else if (type == "ByteLevel") {
    add_byte_level(place);
  } else if (type == "Metaspace") {
    add_metaspace(place);
  } else if (type == "Digits") {
    const bool individual = place.flag("individual_digits", false);
    stages_.push_back({SplitPattern(individual ? R"(\p{N})" : R"(\p{N}+)", place)});
  } else if (type == "Punctuation") {
    stages_.push_back({SplitPattern::pcre2(kPunctuation), place.has("behavior")
                                                              ? behavior_of(place.at("behavior"))
                                                              : SplitBehavior::kIsolated});
  } else if (type == "WhitespaceSplit") {
    stages_.push_back({SplitPattern::pcre2(class_of(kSpace)), SplitBehavior::kRemoved});
  } else if (type == "Whitespace") {
    stages_.push_back({SplitPattern::pcre2(concat(class_of(kWord), "+|",
                                                  class_of(concat("^", kWord), kSpace), "+")),
                       SplitBehavior::kRemoved, /*invert=*/true});
  } else {
    place.at("type").refuse_name(type);
  }
}

void PreTokenizer::add_byte_level(const JsonPlace& place) {
  if (place.flag("add_prefix_space", true)) {
    if (!stages_.empty() || replaces_spaces_)
      place.refuse("add_prefix_space behind another part is not supported");
    prefix_ = Prefix::kAlways;
    space_ = " ";
  }
  if (place.flag("use_regex", true)) stages_.push_back({SplitPattern(kGpt2, place)});
  is_byte_level_ = true;
}

void PreTokenizer::add_metaspace(const JsonPlace& place) {
  if (!stages_.empty() || replaces_spaces_)
    place.refuse("Metaspace behind another part is not supported");
  replaces_spaces_ = true;
  space_ = place.text("replacement");
  if (space_.empty() || utf8_size(space_) != space_.size())
    place.at("replacement").refuse("want one character, got '", space_, "'");
  std::string scheme = place.has("prepend_scheme") ? place.text("prepend_scheme") : "always";
  if (!place.flag("add_prefix_space", true)) scheme = "never";  // of older files
  if (scheme != "always" && scheme != "first" && scheme != "never")
    place.at("prepend_scheme").refuse_name(scheme);
  if (scheme != "never") prefix_ = scheme == "first" ? Prefix::kFirst : Prefix::kAlways;
  if (!place.flag("split", true)) return;
  // The same as merging each replaced space with what follows it.
  stages_.push_back(
      {SplitPattern::pcre2(concat("\\Q", space_, "\\E")), SplitBehavior::kMergedWithNext});
}

std::string_view PreTokenizer::rewrite(std::string_view text, bool begins, bool is_first,
                                       Rewriting& out) const {
  const bool is_spaced =
      text.starts_with(space_) || (replaces_spaces_ && text.starts_with(' ')) || text.empty();
  const bool adds =
      prefix_ != Prefix::kNone && begins && !is_spaced && (is_first || prefix_ == Prefix::kAlways);
  if (!adds && !replaces_spaces_) return text;
  if (adds) out.replace(0, space_);
  if (!replaces_spaces_) out.keep(text);
  for (size_t at = 0; replaces_spaces_ && at < text.size();) {
    const size_t space = std::min(text.find(' ', at), text.size());
    out.keep(text.substr(at, space - at));
    if (space < text.size()) out.replace(1, space_);
    at = space + 1;
  }
  return out.text();
}

}  // namespace orthant
