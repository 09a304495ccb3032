// SPDX-License-Identifier: Apache-2.0
#include "data/hdf5_thread.h"

#include <hdf5.h>

#include <atomic>
#include <condition_variable>
#include <deque>
#include <exception>
#include <mutex>

#include "base/thread.h"

namespace orthant {
namespace {

struct Job {
  FunctionRef<void()> run;
  std::exception_ptr error = nullptr;
  bool done = false;
};

class SerialThread {
 public:
  SerialThread() {
    start_thread("HDF5", [this] { loop(); }).detach();
  }

  void run(FunctionRef<void()> work) {
    if (std::this_thread::get_id() == id_) return work();
    Job job{work};
    std::unique_lock lock(mutex_);
    jobs_.push_back(&job);
    arrived_.notify_one();
    finished_.wait(lock, [&] { return job.done; });
    if (job.error) std::rethrow_exception(job.error);
  }

 private:
  void loop() {
    // Nothing of HDF5 runs while the process ends, on another thread than this one: files that were
    // written are closed by then, and the others need no closing.
    H5dont_atexit();
    // Never load filter code that a file names, and keep HDF5's own messages off stderr: ours carry
    // the innermost one (data/hdf5.h).
    H5PLset_loading_state(0);
    H5Eset_auto2(H5E_DEFAULT, nullptr, nullptr);
    std::unique_lock lock(mutex_);
    id_ = std::this_thread::get_id();
    for (;;) {
      arrived_.wait(lock, [&] { return !jobs_.empty(); });
      Job& job = *jobs_.front();
      jobs_.pop_front();
      lock.unlock();
      try {
        job.run();
      } catch (...) {
        job.error = std::current_exception();
      }
      lock.lock();
      job.done = true;
      finished_.notify_all();  // under the lock: `job` lives on the waiting thread's stack
    }
  }

  std::mutex mutex_;
  std::condition_variable arrived_, finished_;
  std::deque<Job*> jobs_;
  std::atomic<std::thread::id> id_{};
};

}  // namespace

void on_hdf5_thread(FunctionRef<void()> job) {
  // Never destroyed: corpora held by static objects may still be closed while the process ends.
  static SerialThread* const thread = new SerialThread;
  thread->run(job);
}

}  // namespace orthant
