// SPDX-License-Identifier: Apache-2.0
#include "data/bpe/pipeline.h"

#include <algorithm>

#include "base/function_ref.h"
#include "data/bpe/new_characters.h"
#include "data/bpe/white_space.h"

namespace orthant {
namespace {

// How many cuts near its beginning a part tells of.
constexpr size_t kFirstCuts = 64;

// Llama's vocabularies have no pre-tokenizer: a document is one word.  Where no merge joins a space
// to what stands before it, it may be cut there.
constexpr std::string_view kSpace = "\xE2\x96\x81";  // U+2581
constexpr const char* kWordsOfSpaces = "\xE2\x96\x81+[^\xE2\x96\x81]*|[^\xE2\x96\x81]+";

// Whether a place is inside of one of the ranges; places are asked for in growing order.
class HiddenRanges {
 public:
  AddedTokenMatcher::Hidden ranges;
  bool has(size_t place) {
    while (next_ < ranges.size() && ranges[next_].second <= place) ++next_;
    return next_ < ranges.size() && ranges[next_].first < place;
  }

 private:
  size_t next_ = 0;
};

}  // namespace

Pipeline::Pipeline(const JsonPlace& root)
    : normalizer_(root.find("normalizer")),
      pre_tokenizer_(root.find("pre_tokenizer")),
      model_(root.at("model"), pre_tokenizer_.is_byte_level()),
      added_(parse_added_tokens(root.find("added_tokens"))) {
  // What the library then takes for the beginning of a document follows from its offsets.
  if (pre_tokenizer_.prepends_to_first() && normalizer_.replaces())
    root.at("pre_tokenizer").refuse("prepend_scheme 'first' with a Replace is not supported");
  if (!pre_tokenizer_.cuts_words() && model_.may_cut_before(kSpace))
    pre_tokenizer_.add_stage({SplitPattern::pcre2(kWordsOfSpaces)});
  add_matchers();
}

void Pipeline::add_matchers() {
  PipelineScratch scratch;
  for (const AddedToken& token : added_) {
    if (token.normalized) {
      normalized_.add(token, normalizer_.apply(token.content, /*begins=*/true, scratch.normalized,
                                               scratch.match));
    } else {
      raw_.add(token, token.content);
    }
  }
}

// Whether there are places at which a document may be cut.
bool Pipeline::can_cut() const {
  return normalizer_.can_cut() && (normalizer_.is_identity() || !normalized_.has_single_words());
}

// Leading bytes of a document's text that become the same, whatever follows.
size_t Pipeline::settled_bytes(std::string_view text) const {
  const bool rewrites = !normalizer_.is_identity();
  // A token of normalized text may be longer in the text as it is.
  const size_t longest = std::max(raw_.longest(), normalized_.longest() * (rewrites ? 4 : 1));
  size_t settled =
      std::min(normalizer_.settled_bytes(text), text.size() - std::min(longest, text.size()));
  if (raw_.strips_left() || normalized_.strips_left())
    settled -= trailing_white_space(text.substr(0, settled));
  return settled;
}

class PipelineRun {
 public:
  PipelineRun(const Pipeline& pipeline, const Pipeline::Request& request, PipelineScratch& scratch)
      : p_(pipeline),
        r_(request),
        s_(scratch),
        settled_(!p_.can_cut() ? 0
                 : r_.ends     ? r_.text.size()
                               : p_.settled_bytes(r_.text)),
        prepends_(p_.normalizer_.prepends() || p_.pre_tokenizer_.prepends()),
        has_single_words_(p_.raw_.has_single_words() || p_.normalized_.has_single_words()) {}

  EncodedPart run() {
    if (all()) {  // no cut was found
      part_.bytes = r_.ends ? r_.text.size() : 0;
      if (!r_.ends) part_.ids.clear();
    }
    return std::move(part_);
  }

 private:
  // These return false when a cut at or behind the wanted place was found.
  bool all() {
    for (size_t at = 0; at < r_.text.size();) {
      const size_t valid = utf8_prefix(r_.text.substr(at));
      if (valid > 0 && !valid_text(at, valid)) return false;
      at += valid;
      if (at == r_.text.size()) break;
      if (!r_.ends && r_.text.size() - at < 4) break;  // perhaps half of a character
      if (const int32_t id = p_.model_.byte_id(static_cast<unsigned char>(r_.text[at])); id >= 0)
        push(id, at);
      if (!cut(++at)) return false;
    }
    return true;
  }

  bool valid_text(size_t begin, size_t size) {
    const std::string_view text = r_.text.substr(begin, size);
    const bool open = !r_.ends && begin + size == r_.text.size();
    s_.match.set_new_characters(has_new_characters(text));
    valid_begin_ = begin;
    hidden_ = {};
    return p_.raw_.for_each_segment(
        text, r_.with_special, hidden_.ranges, [&](const AddedTokenMatcher::Segment& segment) {
          if (segment.token) {
            push(segment.token->id, begin + segment.begin);
            return cut_behind_token(begin + segment.end);
          }
          gap_begin_ = begin + segment.begin;
          const bool begins = segment.begin > 0 || (begin == 0 && r_.begins);
          return gap(text.substr(segment.begin, segment.end - segment.begin), begins,
                     open && segment.end == text.size());
        });
  }

  // Text between added tokens.
  bool gap(std::string_view text, bool begins, bool open) {
    const std::string_view normalized = p_.normalizer_.apply(text, begins, s_.normalized, s_.match);
    hidden_normalized_ = {};
    return p_.normalized_.for_each_segment(
        normalized, r_.with_special, hidden_normalized_.ranges,
        [&](const AddedTokenMatcher::Segment& segment) {
          if (segment.token) {
            push(segment.token->id, origin_of(segment.begin));
            const auto place = place_of(segment.end);
            return !place || cut_behind_token(*place);
          }
          segment_begin_ = segment.begin;
          // Text whose beginning was stripped is not the first of a document to the library.
          const bool is_first = r_.begins && place_of(segment.begin) == size_t{0};
          return words(normalized.substr(segment.begin, segment.end - segment.begin),
                       begins || segment.begin > 0, is_first,
                       open && segment.end == normalized.size());
        });
  }

  bool words(std::string_view text, bool begins, bool is_first, bool open) {
    Rewriting rewriting;
    const std::string_view rewritten = p_.pre_tokenizer_.rewrite(text, begins, is_first, rewriting);
    const bool is_rewritten = rewritten.data() != text.data();
    return p_.pre_tokenizer_.split(
        rewritten, open, s_.match, [&](std::string_view word, bool may_cut) {
          const size_t first = part_.ids.size();
          encode_word(word);
          if (r_.places) {
            const auto begin = static_cast<size_t>(word.data() - rewritten.data());
            tell_places(word, first, [&](size_t place) {
              place += begin;
              if (is_rewritten) place = rewriting.origin(place);
              return origin_of(segment_begin_ + place);
            });
          }
          if (!may_cut || r_.want_bytes == SIZE_MAX) return true;
          const auto end = static_cast<size_t>(word.data() + word.size() - rewritten.data());
          const auto before = is_rewritten ? rewriting.before(end) : std::optional(end);
          const auto place = before ? place_of(segment_begin_ + *before) : std::nullopt;
          return !place || cut(*place);
        });
  }

  void encode_word(std::string_view word) {
    ORTHANT_CHECK(word.size() < (size_t{1} << 31), kData, "tokenizer: a word of ", word.size(),
                  " bytes, want less than 2 GiB");
    if (!WordCache::is_short(word)) return p_.model_.encode(word, part_.ids, s_.merge);
    const WordCache::Key key = WordCache::key_of(word);
    if (s_.cache.find(key, part_.ids)) return;
    const size_t begin = part_.ids.size();
    p_.model_.encode(word, part_.ids, s_.merge);
    s_.cache.put(key, std::span(part_.ids).subspan(begin));
  }

  void push(int32_t id, size_t begin) {
    part_.ids.push_back(id);
    if (r_.places) r_.places->push_back(begin);
  }

  // Of the ids from `first` on, which are those of the word.
  void tell_places(std::string_view word, size_t first, FunctionRef<size_t(size_t)> origin) {
    if (part_.ids.size() == first + 1 && p_.model_.keeps_all()) {
      r_.places->push_back(origin(0));
      return;
    }
    again_.clear();
    p_.model_.encode(word, again_, s_.merge);  // the cache of words does not know
    for (const uint32_t begin : s_.merge.begins) r_.places->push_back(origin(begin));
  }

  // Where what stands at a place of normalized text comes from in the text as it came.
  size_t origin_of(size_t place) const {
    for (auto step = s_.normalized.rbegin(); step != s_.normalized.rend(); ++step)
      place = step->origin(place);
    return gap_begin_ + place;
  }

  // Where a place of normalized text is in the text as it came; none where it cannot be cut.
  std::optional<size_t> place_of(size_t place) {
    if (hidden_normalized_.has(place)) return std::nullopt;
    for (auto step = s_.normalized.rbegin(); step != s_.normalized.rend(); ++step) {
      const auto before = step->before(place);
      if (!before) return std::nullopt;
      place = *before;
    }
    place += gap_begin_;
    if (hidden_.has(place - valid_begin_)) return std::nullopt;
    return place;
  }

  // Text that begins behind a token gets a prefix, which text that goes on does not.
  bool cut_behind_token(size_t place) { return prepends_ || cut(place); }

  // The ids so far stand for the text up to here, and it could be cut here.
  bool cut(size_t place) {
    if (place == 0 || place > settled_) return true;  // 0: behind what was put before the text
    if (has_single_words_) {                          // they look at the character before them
      const std::string_view rest = r_.text.substr(place);
      if (p_.raw_.begins(rest) || p_.normalized_.begins(rest)) return true;
    }
    if (part_.first_cuts.size() < kFirstCuts) part_.first_cuts.push_back({place, part_.ids.size()});
    if (place < r_.want_bytes) return true;
    part_.bytes = place;
    return false;
  }

  const Pipeline& p_;
  const Pipeline::Request& r_;
  PipelineScratch& s_;
  const size_t settled_;  // no cuts behind here
  const bool prepends_, has_single_words_;
  // Where the parts that are worked on begin: UTF-8 and what is between added tokens, in the text
  // as it came; what is between normalized ones, in normalized text.
  size_t valid_begin_ = 0, gap_begin_ = 0, segment_begin_ = 0;
  HiddenRanges hidden_, hidden_normalized_;
  EncodedPart part_;
  std::vector<int32_t> again_;
};

EncodedPart Pipeline::encode(const Request& request, PipelineScratch& scratch) const {
  return PipelineRun(*this, request, scratch).run();
}

}  // namespace orthant
