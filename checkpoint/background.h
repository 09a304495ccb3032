// SPDX-License-Identifier: Apache-2.0
// One piece of work on a helper thread, in the context of the rank that starts it; on the starter's
// own where the system gives no other.
#pragma once

#include <atomic>
#include <functional>
#include <memory>
#include <string>

namespace orthant {

// Belongs to one thread, which alone calls its methods.
class BackgroundTask {
 public:
  // Returns a text for the starter; what it throws becomes error().  It should end soon after the
  // flag is set, and own everything it uses.
  using Work = std::function<std::string(const std::atomic<bool>& cancelled)>;

  BackgroundTask() = default;  // done, with an empty result
  ~BackgroundTask();           // cancels and waits
  BackgroundTask(const BackgroundTask&) = delete;
  BackgroundTask& operator=(const BackgroundTask&) = delete;

  void start(Work work);                      // the last one must be done
  void set_failed(const std::string& error);  // as if work had thrown this
  bool is_done() const;
  void wait_at_most(double seconds) const;
  void cancel();
  void abandon();  // cancels and lets go without waiting

  // When done:
  const std::string& error() const;  // "" when it went well
  const std::string& result() const;

 private:
  void join();

  struct Shared;
  std::shared_ptr<Shared> shared_;
};

}  // namespace orthant
