// SPDX-License-Identifier: Apache-2.0
#include "data/file_turns.h"

#include <algorithm>
#include <atomic>
#include <exception>
#include <mutex>
#include <thread>
#include <vector>

#include "base/context.h"

namespace orthant {
namespace {

// Each lane holds two files open for tokens, and one that it reads.
constexpr size_t kMostLanes = 64;

}  // namespace

class FileTurns {
 public:
  FileTurns(size_t num_files, FunctionRef<void(FileTurn&)> body)
      : num_files_(num_files), body_(body), rank_(context()), working_(num_file_lanes(num_files)) {}

  void run() {
    std::vector<std::jthread> others;
    for (size_t lane = 1; lane < num_file_lanes(num_files_); ++lane) {
      try {
        others.emplace_back([this, lane] { work(lane); });
      } catch (const std::system_error&) {  // the system has no more threads: slower, no failure
        --working_;
      }
    }
    work(0);
    others.clear();  // waits for them
    if (failure_) std::rethrow_exception(failure_);
  }

  bool goes_on(size_t file) const {
    context().num_threads = std::max(1, rank_.num_threads / static_cast<int>(working_.load()));
    return file <= failed_;
  }

 private:
  void work(size_t lane) {
    RankContext own = rank_;
    const ContextScope scope(own);
    FileTurn turn(*this);
    turn.lane = lane;
    for (;;) {
      turn.file = next_++;
      if (turn.file >= num_files_ || !turn.goes_on()) break;
      try {
        body_(turn);
      } catch (...) {  // thrown again by run()
        note_failure(turn.file);
      }
    }
    --working_;
  }

  void note_failure(size_t file) {
    const std::scoped_lock lock(mutex_);
    if (file > failed_) return;
    failed_ = file;
    failure_ = std::current_exception();
  }

  const size_t num_files_;
  FunctionRef<void(FileTurn&)> body_;
  const RankContext rank_;  // as it is before lanes change their own
  std::atomic<size_t> next_{0}, working_;
  std::atomic<size_t> failed_{static_cast<size_t>(-1)};
  std::mutex mutex_;
  std::exception_ptr failure_;
};

bool FileTurn::goes_on() const { return turns_.goes_on(file); }

size_t num_file_lanes(size_t num_files) {
  const auto threads = static_cast<size_t>(std::max(1, context().num_threads));
  return std::max<size_t>(1, std::min({num_files, threads, kMostLanes}));
}

void for_each_file(size_t num_files, FunctionRef<void(FileTurn&)> body) {
  FileTurns(num_files, body).run();
}

}  // namespace orthant
