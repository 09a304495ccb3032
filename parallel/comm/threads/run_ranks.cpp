// SPDX-License-Identifier: Apache-2.0
#include "parallel/comm/threads/run_ranks.h"

#include <mutex>
#include <optional>
#include <thread>
#include <vector>

#include "base/context.h"
#include "base/error.h"
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
  const auto fail = [&](ErrorKind kind, const std::string& text, std::source_location where) {
    first.set(rank, kind, text, where);
    impl->state().abort(text);
    impl->state().drop();
  };
  try {
    body(Group(impl));
    impl->state().drain();
  } catch (const Error& error) {
    fail(error.kind(), error.what(), error.where());
  } catch (const std::exception& error) {
    fail(ErrorKind::kInternal, error.what(), std::source_location::current());
  }
  world->leave(rank);
}

}  // namespace

void run_ranks(int n, const std::function<void(const Group& world)>& body,
               const RunRanksOptions& options) {
  ORTHANT_CHECK(n >= 1, kInternal, "run_ranks: want at least one rank, got ", n);
  const auto world = std::make_shared<ThreadWorld>(n);
  FirstError first;
  std::vector<std::thread> threads;
  for (int rank = 0; rank < n; ++rank) {
    threads.emplace_back([&, rank] { run_rank(world, rank, first, body, options); });
  }
  for (std::thread& thread : threads) thread.join();
  first.rethrow();
}

}  // namespace orthant
