// SPDX-License-Identifier: Apache-2.0
#include "parallel/comm/status_page.h"

#include <gtest/gtest.h>
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <thread>

namespace orthant {
namespace {

TEST(StatusPage, ReadersSeeOneWrite) {
  StatusPage page;
  std::atomic<bool> stop{false};
  std::thread writer([&] {
    RankStatus status;
    for (int64_t i = 0; !stop.load(); ++i) {
      status.process = status.step = status.num_waits_for = i;
      for (GroupPlace& place : status.places) place.begun = i;
      page.write(status);
    }
  });
  for (int i = 0; i < 20000; ++i) {
    const RankStatus status = page.read();
    const bool is_whole =
        status.step == status.process && status.num_waits_for == status.process &&
        std::all_of(status.places.begin(), status.places.end(),
                    [&](const GroupPlace& place) { return place.begun == status.process; });
    EXPECT_TRUE(is_whole) << "read " << i;
    if (!is_whole) break;
  }
  stop.store(true);
  writer.join();
}

TEST(StatusPage, TextsAreCut) {
  char text[6];
  set_text(text, sizeof(text), "abcdefgh");
  EXPECT_STREQ(text, "abcde");
  set_text(text, sizeof(text), "abcdefgh", /*keep_end=*/true);
  EXPECT_STREQ(text, "defgh");
  set_text(text, sizeof(text), "ab");
  EXPECT_STREQ(text, "ab");
}

TEST(StatusPage, CountsCollectivesByGroup) {
  RankStatus status;
  EXPECT_EQ(status.begun(7), 0);
  for (uint64_t group = 1; group <= 20; ++group) status.set_begun(group, 1);
  status.set_begun(7, 5);
  EXPECT_EQ(status.begun(7), 5);
  EXPECT_EQ(status.begun(16), 1);
  EXPECT_EQ(status.begun(17), 0);  // there was no room
}

// A process that sleeps.
class Child {
 public:
  Child() : process_(fork()) {
    if (process_ == 0) {
      for (;;) pause();
    }
    identify(status_);
    status_.process = status_.thread = process_;
  }
  ~Child() {
    kill(process_, SIGKILL);
    waitpid(process_, nullptr, 0);
  }
  // Whether it comes to that state.
  bool comes_to(ProcessState state) const {
    for (int i = 0; i < 500; ++i) {
      if (process_state(status_) == state) return true;
      usleep(10000);
    }
    return false;
  }
  RankStatus& status() { return status_; }
  pid_t process() const { return process_; }

 private:
  pid_t process_;
  RankStatus status_;
};

TEST(ProcessState, IsReadFromTheSystem) {
  Child child;
  EXPECT_TRUE(child.comes_to(ProcessState::kSleeping));
  kill(child.process(), SIGSTOP);
  EXPECT_TRUE(child.comes_to(ProcessState::kStopped));
  kill(child.process(), SIGKILL);
  EXPECT_TRUE(child.comes_to(ProcessState::kDead));  // a zombie
  waitpid(child.process(), nullptr, 0);
  EXPECT_TRUE(child.comes_to(ProcessState::kDead));  // gone
  child.status().process_namespace += 1;
  EXPECT_EQ(process_state(child.status()), ProcessState::kUnknown);
  RankStatus self;
  identify(self);
  EXPECT_EQ(process_state(self), ProcessState::kRunning);
}

}  // namespace
}  // namespace orthant
