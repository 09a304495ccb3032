// SPDX-License-Identifier: Apache-2.0
#include "data/loader.h"

#include <algorithm>
#include <condition_variable>
#include <deque>
#include <exception>
#include <mutex>
#include <stop_token>
#include <utility>

#include "base/clock.h"
#include "base/context.h"
#include "base/error.h"
#include "base/thread.h"

namespace orthant {
namespace {

struct Place {
  int64_t step = 0, micro_batch = 0;
  bool operator==(const Place&) const = default;
};

const std::string& name_of(const LoaderSource& source) {
  return source.name.empty() ? source.corpus->path() : source.name;
}

std::vector<Sampler::Source> sampler_sources(const std::vector<LoaderSource>& sources,
                                             int64_t sequence_length) {
  std::vector<Sampler::Source> out;
  for (const LoaderSource& source : sources) {
    const Corpus& corpus = *source.corpus;
    const Corpus& first = *sources.front().corpus;
    ORTHANT_CHECK(corpus.tokenizer_name() == first.tokenizer_name() &&
                      corpus.vocab_size() == first.vocab_size() &&
                      corpus.end_of_document() == first.end_of_document(),
                  kConfig, "data.train: ", corpus.path(), " was prepared with tokenizer '",
                  corpus.tokenizer_name(), "' (", corpus.vocab_size(), " ids), ", first.path(),
                  " with '", first.tokenizer_name(), "' (", first.vocab_size(), ")");
    const std::string where = concat(corpus.path(), ": the ", split_name(corpus.split()), " split");
    out.push_back({some_windows(where, corpus.num_tokens(), sequence_length), source.weight,
                   name_of(source)});
  }
  return out;
}

const LoaderOptions& checked(const LoaderOptions& o, const std::vector<LoaderSource>& sources) {
  ORTHANT_CHECK(!sources.empty(), kConfig, "data.train: want at least one source, got none");
  const BatchSizes& sizes = o.sizes;
  ORTHANT_CHECK(o.sequence_length > 0 && o.micro_batch_size > 0 && sizes.global > 0 &&
                    sizes.global % o.micro_batch_size == 0,
                kConfig, "batch: want positive sizes and global_batch_size a multiple of ",
                "micro_batch_size, got sequence_length ", o.sequence_length, ", micro_batch_size ",
                o.micro_batch_size, ", global_batch_size ", sizes.global);
  const int64_t unit = o.micro_batch_size * o.num_ranks;
  ORTHANT_CHECK(o.rank >= 0 && o.rank < o.num_ranks && sizes.global % unit == 0 &&
                    sizes.start % unit == 0 && sizes.increment % unit == 0,
                kConfig, "loader: rank ", o.rank, " of ", o.num_ranks,
                " cannot take an equal part of batches of ", sizes.global,
                " sequences (on the ramp ", sizes.start, " + n x ", sizes.increment, ")");
  return o;
}

}  // namespace

// The background thread makes the batches of `next_`, one after the other, into `ready_`.  A call
// for another place than the front of the queue starts a new sequence there.
struct Loader::Impl {
  const std::vector<LoaderSource> sources;
  const LoaderOptions options;
  const Sampler sampler;
  RankContext& rank = context();  // of the thread that made the loader
  double stall_seconds = 0;

  struct Ready {
    Place place;
    MicroBatch batch;
    std::exception_ptr error;
  };
  std::mutex mutex;
  std::condition_variable_any changed;
  std::deque<Ready> ready;
  Place next;             // what the thread makes next
  int64_t sequence = -1;  // counts restarts; -1: nothing was asked for yet
  std::jthread thread;    // last member: it ends before the others go

  Impl(std::vector<LoaderSource> s, const LoaderOptions& o)
      : sources(std::move(s)),
        options(checked(o, sources)),
        sampler(o.seed, sampler_sources(sources, o.sequence_length)) {
    if (options.prefetch > 0)
      thread = start_thread<std::jthread>("reading data ahead",
                                          [this](std::stop_token stop) { work(stop); });
  }

  MicroBatch make(Place place) const {
    const LoaderOptions& o = options;
    const int32_t end = sources.front().corpus->end_of_document();
    MicroBatch batch = make_padding_batch(o.micro_batch_size, o.sequence_length, end);
    std::vector<int32_t> window(static_cast<size_t>(o.sequence_length) + 1);
    const int64_t first =
        o.sizes.samples_after(place.step) + place.micro_batch * o.micro_batch_size;
    for (int64_t row = 0; row < o.micro_batch_size; ++row) {
      const int64_t sample = first + row;
      const SampleOrigin origin = sampler.origin(sample);
      sources[static_cast<size_t>(origin.source)].corpus->read(origin.window * o.sequence_length,
                                                               window);
      fill_row(batch, row, window, end, sample);
    }
    return batch;
  }

  int64_t micro_batches(int64_t step) const {
    return options.sizes.size_of_step(step + 1) / options.micro_batch_size;
  }
  // Of this rank's part of a step.
  int64_t first_of(int64_t step) const { return options.rank * count_of(step); }
  int64_t count_of(int64_t step) const { return micro_batches(step) / options.num_ranks; }

  Place after(Place place) const {
    if (++place.micro_batch < first_of(place.step) + count_of(place.step)) return place;
    return {place.step + 1, first_of(place.step + 1)};
  }

  // Whether this rank asks for `place` in the order that is read ahead.
  bool expected(Place place) const {
    const int64_t first = first_of(place.step);
    return place.micro_batch >= first && place.micro_batch < first + count_of(place.step);
  }

  void work(std::stop_token stop) {
    const ContextScope scope(rank);
    std::unique_lock lock(mutex);
    for (;;) {
      const auto wanted = [&] {
        return sequence >= 0 && static_cast<int64_t>(ready.size()) < options.prefetch &&
               (ready.empty() || !ready.back().error);
      };
      if (!changed.wait(lock, stop, wanted)) return;
      Ready made{next, {}, nullptr};
      const int64_t at = sequence;
      lock.unlock();
      try {
        made.batch = make(made.place);
      } catch (...) {
        made.error = std::current_exception();
      }
      lock.lock();
      if (at != sequence) continue;  // the caller went elsewhere meanwhile
      next = after(made.place);
      ready.push_back(std::move(made));
      changed.notify_all();
    }
  }

  MicroBatch take(Place place) {
    std::unique_lock lock(mutex);
    const bool follows = sequence >= 0 && (ready.empty() ? next : ready.front().place) == place;
    if (!follows) {
      ready.clear();
      next = place;
      ++sequence;
      changed.notify_all();
    }
    changed.wait(lock, [&] { return !ready.empty(); });
    Ready front = std::move(ready.front());
    ready.pop_front();
    if (front.error) {
      ++sequence;  // a second call tries again instead of waiting for ever
      next = place;
    }
    changed.notify_all();
    lock.unlock();
    if (front.error) std::rethrow_exception(front.error);
    return std::move(front.batch);
  }
};

Loader::Loader(std::vector<LoaderSource> sources, const LoaderOptions& options)
    : impl_(std::make_unique<Impl>(std::move(sources), options)) {}

Loader::~Loader() = default;

MicroBatch Loader::micro_batch(int64_t step, int64_t micro_batch) {
  const LoaderOptions& o = impl_->options;
  ORTHANT_CHECK(step >= 0 && micro_batch >= 0 && micro_batch < impl_->micro_batches(step),
                kInternal, "loader: micro-batch ", micro_batch, " of step ", step,
                " is outside the ", impl_->micro_batches(std::max<int64_t>(step, 0)), " of a step");
  const double start = now_seconds();
  const Place place{step, micro_batch};
  MicroBatch batch =
      o.prefetch > 0 && impl_->expected(place) ? impl_->take(place) : impl_->make(place);
  impl_->stall_seconds += now_seconds() - start;
  return batch;
}

std::vector<MicroBatch> Loader::step_share(int64_t step, int64_t rank, int64_t num_ranks) {
  const int64_t count = impl_->micro_batches(step) / num_ranks;
  std::vector<MicroBatch> batches;
  for (int64_t i = 0; i < count; ++i) batches.push_back(micro_batch(step, rank * count + i));
  return batches;
}

const Sampler& Loader::sampler() const { return impl_->sampler; }

int64_t Loader::num_windows() const {
  int64_t sum = 0;
  for (const LoaderSource& source : impl_->sources)
    sum += orthant::num_windows(source.corpus->num_tokens(), impl_->options.sequence_length);
  return sum;
}

std::vector<SourceUse> Loader::uses_at(int64_t samples) const {
  std::vector<SourceUse> uses;
  for (size_t s = 0; s < impl_->sources.size(); ++s) {
    const LoaderSource& source = impl_->sources[s];
    const int place = static_cast<int>(s);
    uses.push_back({.name = name_of(source),
                    .weight = source.weight,
                    .share = static_cast<double>(sampler().share(place)) / Sampler::kBlock,
                    .windows = orthant::num_windows(source.corpus->num_tokens(),
                                                    impl_->options.sequence_length),
                    .epochs = sampler().epochs_at(samples, place)});
  }
  return uses;
}

double Loader::take_stall_seconds() { return std::exchange(impl_->stall_seconds, 0.0); }

}  // namespace orthant
