// SPDX-License-Identifier: Apache-2.0
#include "base/thread.h"

#include <gtest/gtest.h>

#include <atomic>
#include <cstdlib>

#include "base/context.h"
#include "base/parallel_for.h"
#include "tests/testing/no_threads.h"

namespace orthant::testing {
namespace {

TEST(Thread, Runs) {
  std::atomic<int> calls{0};
  start_thread("a test", [&] { ++calls; }).join();
  start_thread<std::jthread>("a test", [&](std::stop_token) { ++calls; }).join();
  EXPECT_EQ(calls, 2);
}

TEST(ThreadDeathTest, ARefusalIsAnErrorThatSaysWhatFor) {
  EXPECT_EXIT(
      {
        if (!forbid_threads()) std::exit(0);
        try {
          start_thread("reading ahead", [] {}).join();
        } catch (const Error& error) {
          const std::string text = error.what();
          const bool right = error.kind() == ErrorKind::kDevice &&
                             text.find("reading ahead: cannot start a thread") == 0 &&
                             text.find("ulimit -u") != std::string::npos;
          std::exit(right ? 0 : 1);
        }
        std::exit(2);
      },
      ::testing::ExitedWithCode(0), "");
}

TEST(ThreadDeathTest, LoopsGoOnWithFewerThreadsAndSaySoOnce) {
  EXPECT_EXIT(
      {
        const bool refused = forbid_threads();
        if (!refused) std::fprintf(stderr, "going on with 1 of 4 threads");
        RankContext own{.num_threads = 4};
        const ContextScope scope(own);
        int64_t sum = 0;
        for (int round = 0; round < 3; ++round)
          parallel_for_each(100, [&](int64_t i) { sum += i; });  // one thread: no race
        std::exit(!refused || sum == 3 * 4950 ? 0 : 1);
      },
      ::testing::ExitedWithCode(0), "going on with 1 of 4 threads");
}

}  // namespace
}  // namespace orthant::testing
