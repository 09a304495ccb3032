// SPDX-License-Identifier: Apache-2.0
// Each thread that calls parallel_for has helpers of its own, kept between calls.  A helper that
// has nothing to do spins for a moment, because the next loop of a training step usually comes
// within microseconds, and then sleeps: where ranks have more threads than processors, spinning for
// longer would take the time from those that work.
#include "base/parallel_for.h"

#include <immintrin.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <memory>
#include <mutex>
#include <thread>
#include <vector>

#include "base/context.h"
#include "base/log.h"
#include "base/thread.h"

namespace orthant {
namespace {

constexpr int kSpins = 2000;  // about 50 microseconds

// Waits until `value` is not `old`.
void wait_for_change(std::atomic<uint32_t>& value, uint32_t old) {
  for (int i = 0; i < kSpins; ++i) {
    if (value.load(std::memory_order_acquire) != old) return;
    _mm_pause();
  }
  value.wait(old, std::memory_order_acquire);
}

// Helpers join a round while it is open and take chunks until none is left.  The caller closes the
// round when it finds no chunk left, and waits only for the helpers that have joined: one that the
// system has not woken in time costs nothing.
class Pool {
 public:
  // With fewer helpers where the system refuses more: no result depends on their number.
  explicit Pool(int helpers) : wanted_(helpers) {
    threads_.reserve(static_cast<size_t>(helpers));
    try {
      for (int i = 0; i < helpers; ++i) threads_.emplace_back([this] { work(); });
    } catch (const std::system_error& error) {
      warn_of_fewer(error);
    }
  }
  ~Pool() {
    stopping_.store(true);
    next_round();
    for (std::thread& thread : threads_) thread.join();
  }
  Pool(const Pool&) = delete;
  Pool& operator=(const Pool&) = delete;

  int wanted() const { return wanted_; }

  // Calls chunk(0) .. chunk(count - 1), here and on the helpers; returns when all have ended.
  void run(int64_t count, FunctionRef<void(int64_t)> chunk) {
    chunk_ = &chunk;
    count_ = count;
    next_.store(0, std::memory_order_relaxed);
    rank_ = &context();
    gate_.store(kOpen, std::memory_order_release);
    next_round();
    take_chunks();
    uint32_t gate = gate_.fetch_and(~kOpen, std::memory_order_acq_rel) & ~kOpen;
    while (gate != 0) {
      wait_for_change(gate_, gate);
      gate = gate_.load(std::memory_order_acquire);
    }
  }

 private:
  static constexpr uint32_t kOpen = 1u << 31;  // the rest of gate_ counts the helpers inside

  void warn_of_fewer(const std::system_error& error) const {
    static std::once_flag once;
    std::call_once(once, [&] {
      log::write(log::Level::kWarn, true,
                 concat("going on with ", threads_.size() + 1, " of ", wanted_ + 1,
                        " threads, slower: ", why_no_thread(error)));
    });
  }
  void next_round() {
    round_.fetch_add(1, std::memory_order_release);
    round_.notify_all();
  }
  void take_chunks() {
    for (int64_t i = next_.fetch_add(1); i < count_; i = next_.fetch_add(1)) (*chunk_)(i);
  }
  bool join() {
    uint32_t gate = gate_.load(std::memory_order_relaxed);
    while (gate & kOpen) {
      if (gate_.compare_exchange_weak(gate, gate + 1, std::memory_order_acq_rel)) return true;
    }
    return false;
  }
  void work() {
    for (uint32_t seen = 0;;) {
      wait_for_change(round_, seen);
      seen = round_.load(std::memory_order_acquire);
      if (stopping_.load()) return;
      if (!join()) continue;
      {
        const ContextScope scope(*rank_);
        take_chunks();
      }
      if (gate_.fetch_sub(1, std::memory_order_acq_rel) == 1) gate_.notify_one();
    }
  }

  const int wanted_;
  std::vector<std::thread> threads_;
  std::atomic<bool> stopping_{false};
  std::atomic<uint32_t> round_{0};
  std::atomic<uint32_t> gate_{0};
  std::atomic<int64_t> next_{0};
  // Of the open round; written while the gate is closed and nobody is inside.
  FunctionRef<void(int64_t)>* chunk_ = nullptr;
  int64_t count_ = 0;
  RankContext* rank_ = nullptr;
};

// Calls chunk(0) .. chunk(count - 1) on the threads of the calling rank.
void run_chunks(int threads, int64_t count, FunctionRef<void(int64_t)> chunk) {
  static thread_local std::unique_ptr<Pool> pool;
  static thread_local pid_t owner = 0;
  if (owner != getpid()) {
    (void)pool.release();  // a forked child has none of its parent's threads
    owner = getpid();
  }
  if (!pool || pool->wanted() != threads - 1) pool = std::make_unique<Pool>(threads - 1);
  pool->run(count, chunk);
}

}  // namespace

void parallel_for(int64_t n, int64_t grain, FunctionRef<void(int64_t, int64_t)> body) {
  if (n <= 0) return;
  // More chunks than threads, so that a thread that is held up leaves its share to the others.
  constexpr int64_t kChunksPerThread = 4;
  const int64_t pieces = (n + grain - 1) / grain;
  const int team = context().num_threads;
  if (team <= 1 || pieces <= 1) {
    body(0, n);
    return;
  }
  const int64_t chunks = std::min<int64_t>(pieces, team * kChunksPerThread);
  run_chunks(team, chunks, [&](int64_t chunk) {
    const int64_t begin = pieces * chunk / chunks * grain;
    const int64_t end = std::min(n, pieces * (chunk + 1) / chunks * grain);
    body(begin, end);
  });
}

void parallel_for_each(int64_t n, FunctionRef<void(int64_t)> body) {
  if (n <= 0) return;
  const int team = context().num_threads;
  if (team <= 1 || n == 1) {
    for (int64_t i = 0; i < n; ++i) body(i);
    return;
  }
  run_chunks(team, n, body);
}

}  // namespace orthant
