// SPDX-License-Identifier: Apache-2.0
#include "parallel/comm/threads/run_ranks.h"

#include <atomic>
#include <mutex>
#include <optional>
#include <vector>

#include "base/context.h"
#include "base/error.h"
#include "base/thread.h"
#include "parallel/comm/threads/thread_world.h"

namespace orthant {
namespace {

class FirstError {
 public:
  // True for the first.
  bool set(int rank, ErrorKind kind, const std::string& text, std::source_location where) {
    const std::lock_guard lock(mutex_);
    if (error_) return false;
    error_.emplace(kind, concat("rank ", rank, ": ", text), where);
    return true;
  }
  void rethrow() const {
    if (error_) throw *error_;
  }

 private:
  std::mutex mutex_;
  std::optional<Error> error_;
};

void run_rank(const std::shared_ptr<ThreadWorld>& world, int rank, FirstError& first,
              const std::function<void(const Group&)>& body, const RunRanksOptions& options) {
  RankContext context{.rank = rank,
                      .world_size = world->size(),
                      .label = concat("r", rank),
                      .num_threads = options.threads_per_rank};
  const ContextScope scope(context);
  const auto impl = make_thread_group(world, rank, options.deadline_seconds);
  impl->state().stage_everything = options.stage_everything;
  impl->state().check_collectives = options.check_collectives;
  const auto fail = [&](ErrorKind kind, const std::string& text, std::source_location where) {
    first.set(rank, kind, text, where);
    impl->state().show_left(RankPhase::kFailed, text);
    impl->state().abort(text);
    impl->state().drop();
  };
  try {
    body(Group(impl));
    impl->state().drain();
    impl->state().show_left(RankPhase::kEnded, "");
  } catch (const Error& error) {
    fail(error.kind(), error.what(), error.where());
  } catch (const std::exception& error) {
    fail(ErrorKind::kInternal, error.what(), std::source_location::current());
  }
  world->leave(rank);
}

// Runs body(0) .. body(n - 1) at the same time: all of them or, where there are not enough threads,
// none.
void start_together(int n, const std::function<void(int)>& body) {
  enum Signal { kWait, kGo, kLeave };
  std::atomic<int> signal{kWait};
  std::vector<std::thread> threads;
  const auto release = [&](Signal value) {
    signal.store(value);
    signal.notify_all();
    for (std::thread& thread : threads) thread.join();
  };
  threads.reserve(static_cast<size_t>(n));
  try {
    for (int i = 0; i < n; ++i) {
      threads.push_back(start_thread("ranks that are threads", [&, i] {
        signal.wait(kWait);
        if (signal.load() == kGo) body(i);
      }));
    }
  } catch (...) {
    release(kLeave);
    throw;
  }
  release(kGo);
}

}  // namespace

void run_ranks(int n, const std::function<void(const Group& world)>& body,
               const RunRanksOptions& options) {
  ORTHANT_CHECK(n >= 1, kInternal, "run_ranks: want at least one rank, got ", n);
  const auto world = std::make_shared<ThreadWorld>(n);
  FirstError first;
  start_together(n, [&](int rank) { run_rank(world, rank, first, body, options); });
  first.rethrow();
  const std::string lost = options.check_collectives ? world->unreceived() : "";
  ORTHANT_CHECK(lost.empty(), kComm, "sent, but never received: ", lost);
}

}  // namespace orthant
