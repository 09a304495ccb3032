// SPDX-License-Identifier: Apache-2.0
// PreTokenizer::split: each stage cuts what the stage before it has left, piece by piece, so that
// nothing but the current piece of every stage exists at a time.
#include "data/bpe/pre_tokenizer.h"

namespace orthant {
namespace {

// Text on its way through the stages.
struct Piece {
  std::string_view text;
  bool open = false;        // text follows that is not there
  bool cuts_inside = true;  // (C1) holds inside
  bool cuts_at_end = true;  // and at its end
};

class Walk {
 public:
  Walk(const std::vector<SplitStage>& stages, MatchScratch& scratch, PreTokenizer::Take take)
      : stages_(stages), scratch_(scratch), take_(take) {}

  // False: the taker has had enough.
  bool run(size_t stage, const Piece& piece) {
    if (piece.text.empty()) return true;
    if (stage < stages_.size()) return Stage{*this, stage, piece}.run();
    return piece.open || take_(piece.text, piece.cuts_at_end);
  }

 private:
  // One piece in one stage.
  struct Stage {
    struct Part {
      size_t begin, end;
      bool is_match;  // after `invert`
      bool is_gap;    // nothing of it is a match of the pattern
    };
    Walk& walk;
    size_t index;
    const Piece& whole;
    Part pending{};
    bool has_pending = false;

    bool run() {
      const SplitStage& stage = walk.stages_[index];
      for (size_t at = 0;;) {
        const auto found = stage.pattern.find(whole.text, at, whole.open, walk.scratch_);
        const bool matched = found.status == SplitPattern::Status::kMatch;
        const size_t gap_end =
            found.status == SplitPattern::Status::kNone ? whole.text.size() : found.begin;
        const Part gap{at, gap_end, stage.invert, true};
        if (!matched && whole.open) return open_end(stage, gap);
        if (gap.end > gap.begin && !add(stage, gap)) return false;
        if (!matched) return flush();
        if (!add(stage, {found.begin, found.end, !stage.invert, false})) return false;
        at = found.end;
      }
    }

    bool add(const SplitStage& stage, const Part& part) {
      switch (stage.behavior) {
        case SplitBehavior::kIsolated:
          return pass(part, false);
        case SplitBehavior::kRemoved:
          return part.is_match || pass(part, false);
        case SplitBehavior::kContiguous:
          if (has_pending && pending.is_match == part.is_match) return extend(part, part.is_match);
          break;
        case SplitBehavior::kMergedWithPrevious:
          if (has_pending && part.is_match && !pending.is_match) return extend(part, true);
          break;
        case SplitBehavior::kMergedWithNext:
          if (has_pending && pending.is_match && !part.is_match) return extend(part, false);
          break;
      }
      if (!flush()) return false;
      pending = part;
      has_pending = true;
      return true;
    }

    bool extend(const Part& part, bool is_match) {
      pending = {pending.begin, part.end, is_match, false};
      return true;
    }
    bool flush() {
      if (!has_pending) return true;
      has_pending = false;
      return pass(pending, false);
    }

    // Of what waits here, and of a gap that may be merged, nothing is known yet.
    bool open_end(const SplitStage& stage, const Part& gap) {
      if (stage.behavior == SplitBehavior::kIsolated) return pass(gap, true);
      if (stage.behavior == SplitBehavior::kRemoved) return gap.is_match || pass(gap, true);
      return true;
    }

    bool pass(const Part& part, bool open) {
      const bool is_end = part.end == whole.text.size() && !whole.open;
      return walk.run(index + 1, {whole.text.substr(part.begin, part.end - part.begin), open,
                                  whole.cuts_inside && part.is_gap,
                                  is_end ? whole.cuts_at_end : whole.cuts_inside});
    }
  };

  const std::vector<SplitStage>& stages_;
  MatchScratch& scratch_;
  PreTokenizer::Take take_;
};

}  // namespace

bool PreTokenizer::split(std::string_view text, bool open, MatchScratch& scratch, Take take) const {
  return Walk(stages_, scratch, take).run(0, {text, open});
}

}  // namespace orthant
