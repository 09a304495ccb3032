// SPDX-License-Identifier: Apache-2.0
#include "checkpoint/background.h"

#include <chrono>
#include <condition_variable>
#include <memory>
#include <mutex>
#include <utility>

#include "base/context.h"
#include "base/error.h"
#include "base/log.h"
#include "base/thread.h"

namespace orthant {

struct BackgroundTask::Shared {
  std::mutex mutex;
  std::condition_variable changed;
  bool done = false;  // result and error do not change any more
  std::string result, error;
  std::atomic<bool> cancelled{false};
  std::thread thread;

  void finish(std::string text, std::string problem) {
    const std::lock_guard lock(mutex);
    result = std::move(text);
    error = std::move(problem);
    done = true;
    changed.notify_all();
  }
};

namespace {
const std::string kNothing;
}

BackgroundTask::~BackgroundTask() {
  cancel();
  join();
}

void BackgroundTask::join() {
  if (shared_ && shared_->thread.joinable()) shared_->thread.join();
}

void BackgroundTask::start(Work work) {
  ORTHANT_CHECK(is_done(), kInternal, "a background task was started before the last one was done");
  join();
  shared_ = std::make_shared<Shared>();
  auto run = [shared = shared_, work = std::move(work), rank = context()]() mutable {
    const ContextScope scope(rank);
    std::string result, error;
    try {
      result = work(shared->cancelled);
    } catch (const std::exception& problem) {
      error = problem.what();
      if (error.empty()) error = "unknown failure";
    }
    work = nullptr;  // what it holds is free before anybody hears that it is done
    shared->finish(std::move(result), std::move(error));
  };
  const auto body = std::make_shared<decltype(run)>(std::move(run));  // outlives a thread's refusal
  try {
    shared_->thread = std::thread([body] { (*body)(); });
  } catch (const std::system_error& refusal) {
    static std::once_flag once;
    std::call_once(once, [&] {
      log::write(log::Level::kWarn, true,
                 concat("checkpoints are written while training waits: ", why_no_thread(refusal)));
    });
    (*body)();
  }
}

void BackgroundTask::set_failed(const std::string& error) {
  join();
  shared_ = std::make_shared<Shared>();
  shared_->finish("", error);
}

bool BackgroundTask::is_done() const {
  if (!shared_) return true;
  const std::lock_guard lock(shared_->mutex);
  return shared_->done;
}

void BackgroundTask::wait_at_most(double seconds) const {
  if (!shared_) return;
  std::unique_lock lock(shared_->mutex);
  shared_->changed.wait_for(lock, std::chrono::duration<double>(seconds),
                            [&] { return shared_->done; });
}

void BackgroundTask::cancel() {
  if (shared_) shared_->cancelled.store(true);
}

void BackgroundTask::abandon() {
  cancel();
  if (shared_ && shared_->thread.joinable()) shared_->thread.detach();
}

const std::string& BackgroundTask::error() const { return shared_ ? shared_->error : kNothing; }
const std::string& BackgroundTask::result() const { return shared_ ? shared_->result : kNothing; }

}  // namespace orthant
