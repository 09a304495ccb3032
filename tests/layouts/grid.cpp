// SPDX-License-Identifier: Apache-2.0
#include "tests/layouts/grid.h"

#include <algorithm>
#include <array>
#include <map>
#include <random>

#include "base/error.h"
#include "parallel/pipeline/generators.h"

namespace orthant::testing {
namespace {

constexpr int kRounds = 2;  // layouts that every pair meets in, at least
constexpr int kLayers = 8, kHeads = 4, kKvHeads = 2, kRows = 8;

const char* const kModels[] = {"grid_dense", "grid_v2", "grid_v3", "grid_v2_lite", "grid_v3_mtp"};
const char* const kRecomputes[] = {"none", "selective", "full"};
const char* const kSchedules[] = {"1f1b", "gpipe", "interleaved", "zb_h1", "dualpipev"};

// A layout as an index into the values of each axis.
enum AxisIndex {
  kDp,
  kTp,
  kCp,
  kPp,
  kEp,
  kEtp,
  kModel,
  kNoSp,
  kUlysses,
  kSchedule,
  kNoZero,
  kTwoRows,
  kRecompute,
  kTied,
  kWindow,
  kDrop,
  kNarrow,
  kAxes
};
constexpr std::array<int, kAxes> kCounts = {3, 3, 3, 3, 3, 2, 5, 2, 2, 5, 2, 2, 3, 2, 2, 2, 2};
using Choice = std::array<int, kAxes>;
int size_of_axis(const Choice& c, AxisIndex axis) { return 1 << c[axis]; }
int ranks_of(const Choice& c) { return 1 << (c[kDp] + c[kTp] + c[kCp] + c[kPp]); }

GridLayout layout_of(const Choice& c) {
  return {.model = kModels[c[kModel]],
          .dp = size_of_axis(c, kDp),
          .tp = size_of_axis(c, kTp),
          .cp = size_of_axis(c, kCp),
          .pp = size_of_axis(c, kPp),
          .ep = size_of_axis(c, kEp),
          .etp = size_of_axis(c, kEtp),
          .sp = c[kNoSp] == 0,
          .ulysses = c[kUlysses] == 1,
          .schedule = kSchedules[c[kSchedule]],
          .zero = 1 - c[kNoZero],
          .micro_batch_size = 1 + c[kTwoRows],
          .recompute = kRecomputes[c[kRecompute]],
          .tied = c[kTied] == 1,
          .window = c[kWindow] == 1,
          .drop = c[kDrop] == 1,
          .narrow = c[kNarrow] == 1};
}

bool schedule_fits(int schedule, int ranks, int micro_batches) {
  static std::map<std::array<int, 3>, bool> known;
  const std::array<int, 3> key = {schedule, ranks, micro_batches};
  const auto found = known.find(key);
  if (found != known.end()) return found->second;
  bool fits = false;
  try {
    fits =
        pipeline::generate_schedule(kSchedules[schedule], ranks, micro_batches).stages() <= kLayers;
  } catch (const Error&) {  // it says what would fit
  }
  return known[key] = fits;
}

// An axis that another one leaves without meaning is at its first value.
bool is_valid(const Choice& c, int max_ranks) {
  const int ranks = ranks_of(c), dp = size_of_axis(c, kDp), tp = size_of_axis(c, kTp);
  const int cp = size_of_axis(c, kCp), pp = size_of_axis(c, kPp), rows = 1 + c[kTwoRows];
  if (ranks > max_ranks || kRows / rows % dp != 0) return false;
  if ((tp == 1 && (c[kNoSp] || c[kNarrow])) || (cp == 1 && c[kUlysses])) return false;
  if (pp == 1 ? c[kSchedule] != 0 : !schedule_fits(c[kSchedule], pp, kRows / rows / dp))
    return false;
  if (c[kUlysses] && (kHeads / tp % cp != 0 || std::max(1, kKvHeads / tp) % cp != 0)) return false;
  if (c[kModel] == 0) return c[kEp] + c[kEtp] + c[kDrop] == 0;
  return ranks / pp % (size_of_axis(c, kEp) * size_of_axis(c, kEtp)) == 0 &&
         (!c[kDrop] || c[kModel] == 1);
}

std::vector<Choice> all_choices(int max_ranks) {
  std::vector<Choice> valid;
  Choice c{};
  while (true) {
    if (is_valid(c, max_ranks)) valid.push_back(c);
    size_t axis = 0;
    while (axis < kAxes && ++c[axis] == kCounts[axis]) c[axis++] = 0;
    if (axis == kAxes) return valid;
  }
}

// Pairs of values, as bits.
class PairSet {
 public:
  template <class F>
  static void each(const Choice& c, F f) {
    for (size_t a = 0; a < kAxes; ++a)
      for (size_t b = a + 1; b < kAxes; ++b)
        f(((a * 5 + static_cast<size_t>(c[a])) * kAxes + b) * 5 + static_cast<size_t>(c[b]));
  }
  void add(const Choice& c) {
    each(c, [&](size_t i) { has_[i] = true; });
  }
  void remove(const Choice& c) {
    each(c, [&](size_t i) { has_[i] = false; });
  }
  int common(const Choice& c) const {
    int count = 0;
    each(c, [&](size_t i) { count += has_[i]; });
    return count;
  }
  int size() const { return static_cast<int>(std::count(has_.begin(), has_.end(), true)); }

 private:
  std::array<bool, kAxes * 5 * kAxes * 5> has_{};
};

// The best of some; where luck fails, the first that helps at all.
Choice most_helpful(const std::vector<Choice>& choices, const PairSet& open,
                    std::mt19937_64& random) {
  Choice best{};
  int most = 0;
  for (int i = 0; i < 400; ++i) {
    const Choice& candidate = choices[random() % choices.size()];
    const int common = open.common(candidate);
    if (common > most) most = common, best = candidate;
  }
  if (most > 0) return best;
  return *std::find_if(choices.begin(), choices.end(),
                       [&](const Choice& c) { return open.common(c) > 0; });
}

Variant grid_model(const std::string& name) {
  const Variant& like =
      find_variant(name == "grid_dense" ? std::string("dense_gqa") : "moe" + name.substr(4));
  Variant variant = like;
  variant.name = name;
  ModelConfig& m = variant.config.model;
  m.hidden_size = 16;
  m.intermediate_size = 21;  // no multiple of any number of ranks, nor is the vocabulary of 61
  m.num_hidden_layers = kLayers;
  m.num_attention_heads = kHeads;
  m.num_key_value_heads = m.is_latent() ? kHeads : kKvHeads;
  m.moe_intermediate_size = std::min<int64_t>(m.moe_intermediate_size, 6);
  variant.config.moe.capacity_factor = 0;
  variant.config.batch = {.micro_batch_size = 1, .global_batch_size = kRows, .sequence_length = 16};
  return variant;
}

}  // namespace

std::string GridLayout::text() const {
  std::string text = concat(model, tied ? " tied" : "", window ? " window" : "",
                            drop ? " drop" : "", narrow ? " narrow" : "", ": dp", dp);
  if (tp > 1) text += concat(" tp", tp, sp ? "" : " nosp");
  if (cp > 1) text += concat(" cp", cp, ulysses ? " ulysses" : "");
  if (pp > 1) text += concat(" pp", pp, " ", schedule);
  if (ep * etp > 1) text += concat(" ep", ep, " etp", etp);
  return text + concat(" zero", zero, " mb", micro_batch_size,
                       recompute == "none" ? "" : concat(" ", recompute));
}

Variant GridLayout::variant() const {
  Variant variant = grid_model(model);
  variant.name += concat(tied ? "_tied" : "", window ? "_window" : "", drop ? "_drop" : "",
                         narrow ? concat("_narrow", tp, etp) : "", "_", micro_batch_size);
  ModelConfig& m = variant.config.model;
  m.tie_word_embeddings = tied;
  if (window) {
    m.sliding_window = 5;
    m.sliding_window_pattern = 3;
  }
  if (narrow) {
    m.intermediate_size = tp == 4 ? 3 : 1;
    m.moe_intermediate_size = etp == 2 ? 2 : m.intermediate_size;  // which etp divides
  }
  if (drop) variant.config.moe.capacity_factor = 0.9;
  variant.config.batch.micro_batch_size = micro_batch_size;
  return variant;
}

LayoutOptions GridLayout::options() const {
  LayoutOptions options{.learning_rate = 1e-3, .gradients = true};
  options.recompute = recompute;
  options.zero_stage = zero;
  options.tensor_parallel_size = tp;
  options.sequence_parallel = sp;
  options.context_parallel_size = cp;
  options.context_parallel_kind = ulysses ? "ulysses" : "ring";
  options.pipeline_parallel_size = pp;
  options.pipeline_schedule = schedule;
  options.expert_parallel_size = ep;
  options.expert_tensor_parallel_size = etp;
  return options;
}

GridCover pairwise_layouts(int max_ranks) {
  const std::vector<Choice> choices = all_choices(max_ranks);
  PairSet all;
  for (const Choice& choice : choices) all.add(choice);
  GridCover cover{.pairs = all.size()};
  std::mt19937_64 random(7);
  PairSet open = all;
  for (int round = 0; round < kRounds; open = all, ++round) {
    while (open.size() > 0) {
      const Choice best = most_helpful(choices, open, random);
      open.remove(best);
      cover.layouts.push_back(layout_of(best));
    }
  }
  return cover;
}

}  // namespace orthant::testing
