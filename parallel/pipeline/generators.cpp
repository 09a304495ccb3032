// SPDX-License-Identifier: Apache-2.0
#include "parallel/pipeline/generators.h"

#include <algorithm>

#include "base/error.h"
#include "parallel/pipeline/check.h"
#include "parallel/pipeline/communication.h"

namespace orthant::pipeline {
namespace {

// Emits a rank's actions.  Each stage takes its micro-batches in ascending order, whatever the
// kind of action (P1).
class Writer {
 public:
  Writer(int stages, Program* program)
      : program_(program),
        forwards_(static_cast<size_t>(stages)),
        backwards_(static_cast<size_t>(stages)) {}

  void forward(int stage) { write(Act::kForward, stage, forwards_[static_cast<size_t>(stage)]++); }
  void backward(int stage) {
    write(Act::kBackward, stage, backwards_[static_cast<size_t>(stage)]++);
  }
  void backward_input(int stage) {
    const int micro_batch = backwards_[static_cast<size_t>(stage)]++;
    write(Act::kBackwardInput, stage, micro_batch);
    late_.push_back({Act::kBackwardWeight, stage, micro_batch});
  }
  // The oldest weight gradient put off.
  void backward_weight() { program_->push_back(late_[num_weights_++]); }
  bool has_late_weights() const { return num_weights_ < late_.size(); }

 private:
  void write(Act act, int stage, int micro_batch) {
    program_->push_back({act, stage, micro_batch});
  }

  Program* program_;
  std::vector<int> forwards_, backwards_;  // by stage: the next micro-batch
  std::vector<Action> late_;
  size_t num_weights_ = 0;
};

void gpipe(const Schedule& s, int rank, Writer& out) {
  for (int c = 0; c < s.chunks; ++c)
    for (int m = 0; m < s.micro_batches; ++m) out.forward(c * s.ranks + rank);
  for (int c = s.chunks - 1; c >= 0; --c)
    for (int m = 0; m < s.micro_batches; ++m) out.backward(c * s.ranks + rank);
}

void one_forward_one_backward(const Schedule& s, int rank, Writer& out) {
  const int warm_up = std::min(s.ranks - 1 - rank, s.micro_batches);
  for (int m = 0; m < s.micro_batches + warm_up; ++m) {
    if (m < s.micro_batches) out.forward(rank);
    if (m >= warm_up) out.backward(rank);
  }
}

// The chunks in the order in which a rank takes them, one entry for each forward: micro-batches go
// through in groups, a group through all chunks.  Groups of `ranks` keep every rank busy; where
// they do not divide the micro-batches, all groups grow a little (fewer than `ranks` in a group
// would make ranks wait for each other in a circle).
struct ChunkOrder {
  std::vector<int> chunks;
  int largest_group = 0;
};

ChunkOrder chunk_order(const Schedule& s) {
  ChunkOrder order;
  const int groups = std::max(1, s.micro_batches / s.ranks);
  for (int g = 0; g < groups; ++g) {
    const int size = s.micro_batches * (g + 1) / groups - s.micro_batches * g / groups;
    order.largest_group = std::max(order.largest_group, size);
    for (int c = 0; c < s.chunks; ++c)
      order.chunks.insert(order.chunks.end(), static_cast<size_t>(size), c);
  }
  return order;
}

void interleaved(const Schedule& s, int rank, Writer& out) {
  const auto [chunks, group] = chunk_order(s);
  const int total = static_cast<int>(chunks.size());
  // Less than one full group: all forwards first, which is less than a group's memory.
  const int warm_up =
      group < s.ranks ? total : std::min(total, 2 * (s.ranks - rank - 1) + (s.chunks - 1) * group);
  for (int i = 0; i < total + warm_up; ++i) {
    if (i < total) out.forward(chunks[static_cast<size_t>(i)] * s.ranks + rank);
    if (i >= warm_up)
      out.backward((s.chunks - 1 - chunks[static_cast<size_t>(i - warm_up)]) * s.ranks + rank);
  }
}

// Rank r puts weight gradients off by r: the later a rank's first backward, the longer it would
// have nothing to do after its last forward.
void zb_h1(const Schedule& s, int rank, Writer& out) {
  const int warm_up = std::min(s.ranks - 1 - rank, s.micro_batches);
  for (int m = 0; m < s.micro_batches + warm_up; ++m) {
    if (m < s.micro_batches) out.forward(rank);
    if (m < warm_up) continue;
    out.backward_input(rank);
    if (m - warm_up >= rank) out.backward_weight();
  }
  while (out.has_late_weights()) out.backward_weight();
}

// Micro-batches go down the ranks through stage `rank` (the way there), turn at the last rank and
// come up through stage 2 ranks - 1 - rank (the way back).
void dualpipev(const Schedule& s, int rank, Writer& out) {
  const int there = rank, back = 2 * s.ranks - 1 - rank;
  const int below = s.ranks - 1 - rank;  // ranks between here and the turn
  for (int i = 0; i < 2 * below; ++i) out.forward(there);
  for (int i = 0; i <= rank; ++i) {
    out.forward(there);
    out.forward(back);
  }
  for (int i = 0; i < below; ++i) {
    out.backward_input(back);
    out.backward_weight();
    out.forward(back);
  }
  for (int i = 0; i < s.micro_batches - 2 * s.ranks + rank + 1; ++i) {
    out.forward(there);
    out.backward(back);
    out.forward(back);
    out.backward(there);
  }
  for (int i = 0; i < below; ++i) {
    out.backward(back);
    out.forward(back);
    out.backward(there);
  }
  // From the middle on weight gradients are put off, on ranks of both parities as evenly as can be.
  for (int i = 0; i < 2 * (rank + 1); ++i) {
    const int stage = i % 2 == 0 ? back : there;
    if (i <= rank)
      out.backward(stage);
    else
      out.backward_input(stage);
  }
  for (int i = 0; i < below; ++i) {
    out.backward_weight();
    out.backward_input(there);
  }
  while (out.has_late_weights()) out.backward_weight();
}

struct Generator {
  const char* name;
  void (*write)(const Schedule&, int rank, Writer&);
  int fewest_chunks, most_chunks;
  bool folds;                   // stage s and its mirror image share a rank
  int micro_batches_to_a_rank;  // at least so many
};

constexpr int kAnyChunks = 1 << 20;
constexpr Generator kGenerators[] = {
    {"gpipe", gpipe, 1, kAnyChunks, false, 0},
    {"1f1b", one_forward_one_backward, 1, 1, false, 0},
    {"interleaved", interleaved, 2, kAnyChunks, false, 0},
    {"zb_h1", zb_h1, 1, 1, false, 0},
    {"dualpipev", dualpipev, 2, 2, true, 2},
};

const Generator& find_generator(const std::string& name) {
  for (const Generator& generator : kGenerators)
    if (name == generator.name) return generator;
  std::string all;
  for (const std::string& known : schedule_names()) all += (all.empty() ? "" : ", ") + known;
  throw_error(ErrorKind::kConfig,
              concat("pipeline schedule: want one of ", all, "; got '", name, "'"));
}

}  // namespace

const std::vector<std::string>& schedule_names() {
  static const std::vector<std::string> names = [] {
    std::vector<std::string> all;
    for (const Generator& generator : kGenerators) all.emplace_back(generator.name);
    return all;
  }();
  return names;
}

int settle_chunks(const std::string& name, int ranks, int micro_batches, int chunks) {
  const Generator& generator = find_generator(name);
  if (chunks == 0) chunks = generator.fewest_chunks;
  ORTHANT_CHECK(ranks >= 1 && micro_batches >= 1, kConfig, "pipeline schedule ", name,
                ": want at least 1 rank and 1 micro-batch, got ", ranks, " and ", micro_batches);
  ORTHANT_CHECK(chunks >= generator.fewest_chunks, kConfig, "pipeline schedule ", name,
                ": want at least ", generator.fewest_chunks, " chunks a rank, got ", chunks,
                generator.fewest_chunks == 2 ? "; with one, take 1f1b" : "");
  ORTHANT_CHECK(chunks <= generator.most_chunks, kConfig, "pipeline schedule ", name, ": want ",
                generator.most_chunks, " chunk(s) a rank, got ", chunks,
                "; interleaved and gpipe take any number");
  ORTHANT_CHECK(
      micro_batches >= generator.micro_batches_to_a_rank * ranks, kConfig, "pipeline schedule ",
      name, ": want at least ", generator.micro_batches_to_a_rank * ranks, " micro-batches on ",
      ranks, " ranks (two a rank), got ", micro_batches, "; interleaved and zb_h1 take any number");
  return chunks;
}

Schedule generate_schedule(const std::string& name, int ranks, int micro_batches, int chunks) {
  const Generator& generator = find_generator(name);
  chunks = settle_chunks(name, ranks, micro_batches, chunks);
  Schedule schedule{.name = name, .ranks = ranks, .micro_batches = micro_batches, .chunks = chunks};
  for (int s = 0; s < ranks * chunks; ++s)
    schedule.rank_of.push_back(generator.folds && s >= ranks ? 2 * ranks - 1 - s : s % ranks);
  schedule.programs.resize(static_cast<size_t>(ranks));
  for (int rank = 0; rank < ranks; ++rank) {
    Writer writer(schedule.stages(), &schedule.programs[static_cast<size_t>(rank)]);
    generator.write(schedule, rank, writer);
  }
  return schedule;
}

Schedule make_forward_schedule(const Schedule& like, int micro_batches) {
  Schedule schedule = like;
  schedule.name = like.name + ", forward only";
  schedule.micro_batches = micro_batches;
  schedule.programs.assign(static_cast<size_t>(like.ranks), {});
  // When a forward begins; no two of a rank at once.  Where the stages fold, a micro-batch comes by
  // a rank again in between two others; elsewhere a group goes through one chunk after the other.
  const int p = like.ranks, chunks = like.chunks;
  const bool folds = chunks > 1 && like.rank(p) == p - 1;
  const auto begin_of = [&](const Action& action) {
    const int m = action.micro_batch;
    return action.stage + (folds ? chunks * m : m % p + m / p * chunks * p);
  };
  for (int s = 0; s < schedule.stages(); ++s)
    for (int m = 0; m < micro_batches; ++m)
      schedule.programs[static_cast<size_t>(like.rank(s))].push_back({Act::kForward, s, m});
  for (Program& program : schedule.programs)
    std::sort(program.begin(), program.end(),
              [&](const Action& a, const Action& b) { return begin_of(a) < begin_of(b); });
  schedule = insert_communication(schedule);
  check_schedule(schedule, Pass::kForward);
  return schedule;
}

Schedule make_schedule(const std::string& name, int ranks, int micro_batches, int chunks) {
  Schedule schedule = insert_communication(generate_schedule(name, ranks, micro_batches, chunks));
  check_schedule(schedule);
  return schedule;
}

}  // namespace orthant::pipeline
