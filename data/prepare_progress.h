// SPDX-License-Identifier: Apache-2.0
// How far prepare() is, from all its threads.
#pragma once

#include <atomic>
#include <cstdint>
#include <functional>
#include <mutex>

namespace orthant {

class PrepareProgress {
 public:
  using Report = std::function<void(double fraction, double tokens_per_second)>;
  // total_bytes: of the files, over both passes.
  PrepareProgress(const Report& report, int64_t total_bytes);

  // One pass over one file.
  class File {
   public:
    explicit File(PrepareProgress& progress) : progress_(progress) {}
    // `bytes` of the file are read by now.
    void at(int64_t bytes) {
      progress_.add(bytes - bytes_);
      bytes_ = bytes;
    }

   private:
    PrepareProgress& progress_;
    int64_t bytes_ = 0;
  };
  void begin_tokens();
  void add_tokens(int64_t tokens) { tokens_ += tokens; }
  void finish() const;
  double seconds() const;

 private:
  void add(int64_t bytes);
  double rate(double now) const;

  const Report& report_;
  const int64_t total_bytes_;
  const double start_;
  double tokens_start_ = 0;
  std::atomic<int64_t> bytes_{0}, tokens_{0};
  std::mutex mutex_;
  double last_ = 0;
};

}  // namespace orthant
