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
#include <thread>
#include <vector>

#include "base/context.h"

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

class Pool {
 public:
  explicit Pool(int helpers) {
    for (int i = 0; i < helpers; ++i) threads_.emplace_back([this, i] { work(i + 1); });
  }
  ~Pool() {
    job_ = nullptr;
    post();
    for (std::thread& thread : threads_) thread.join();
  }
  Pool(const Pool&) = delete;
  Pool& operator=(const Pool&) = delete;

  int helpers() const { return static_cast<int>(threads_.size()); }

  // Calls job(0) here and job(1 .. helpers) on the helpers; returns when all have ended.
  void run(FunctionRef<void(int)> job) {
    job_ = &job;
    rank_ = &context();
    running_.store(static_cast<uint32_t>(threads_.size()), std::memory_order_relaxed);
    post();
    job(0);
    while (const uint32_t left = running_.load(std::memory_order_acquire))
      wait_for_change(running_, left);
  }

 private:
  void post() {
    round_.fetch_add(1, std::memory_order_release);
    round_.notify_all();
  }
  void work(int index) {
    uint32_t seen = 0;
    while (true) {
      wait_for_change(round_, seen);
      seen = round_.load(std::memory_order_acquire);
      if (!job_) return;
      {
        const ContextScope scope(*rank_);
        (*job_)(index);
      }
      if (running_.fetch_sub(1, std::memory_order_acq_rel) == 1) running_.notify_one();
    }
  }

  std::vector<std::thread> threads_;
  std::atomic<uint32_t> round_{0};
  std::atomic<uint32_t> running_{0};
  FunctionRef<void(int)>* job_ = nullptr;
  RankContext* rank_ = nullptr;
};

// Runs job(0 .. threads - 1), one call a thread.
void run_on(int threads, FunctionRef<void(int)> job) {
  static thread_local std::unique_ptr<Pool> pool;
  static thread_local pid_t owner = 0;
  if (owner != getpid()) {
    (void)pool.release();  // a forked child has none of its parent's threads
    owner = getpid();
  }
  if (!pool || pool->helpers() != threads - 1) pool = std::make_unique<Pool>(threads - 1);
  pool->run(job);
}

}  // namespace

void parallel_for(int64_t n, int64_t grain, FunctionRef<void(int64_t, int64_t)> body) {
  if (n <= 0) return;
  const int64_t pieces = (n + grain - 1) / grain;
  const int team = context().num_threads;
  if (team <= 1 || pieces <= 1) {
    body(0, n);
    return;
  }
  run_on(team, [&](int thread) {
    const int64_t begin = pieces * thread / team * grain;
    const int64_t end = std::min(n, pieces * (thread + 1) / team * grain);
    if (begin < end) body(begin, end);
  });
}

void parallel_for_each(int64_t n, FunctionRef<void(int64_t)> body) {
  if (n <= 0) return;
  const int team = context().num_threads;
  if (team <= 1 || n == 1) {
    for (int64_t i = 0; i < n; ++i) body(i);
    return;
  }
  std::atomic<int64_t> next{0};
  run_on(team, [&](int) {
    for (int64_t i = next.fetch_add(1); i < n; i = next.fetch_add(1)) body(i);
  });
}

}  // namespace orthant
