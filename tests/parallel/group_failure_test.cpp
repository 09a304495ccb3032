// SPDX-License-Identifier: Apache-2.0
// What ranks see when another one is late, wrong, or gone.
#include <gtest/gtest.h>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <thread>

#include "base/clock.h"
#include "base/context.h"
#include "base/error.h"
#include "parallel/comm/threads/run_ranks.h"

namespace orthant {
namespace {

void sleep_seconds(double seconds) {
  std::this_thread::sleep_for(std::chrono::duration<double>(seconds));
}

// The error of run_ranks, which must come within `seconds`.
std::string error_of(int n, const std::function<void(const Group&)>& body, double seconds,
                     const RunRanksOptions& options = {}, ErrorKind kind = ErrorKind::kComm) {
  const double start = now_seconds();
  try {
    run_ranks(n, body, options);
  } catch (const Error& error) {
    EXPECT_EQ(error.kind(), kind) << error.what();
    EXPECT_LT(now_seconds() - start, seconds) << error.what();
    return error.what();
  }
  ADD_FAILURE() << "nothing was thrown";
  return "";
}

void expect_in(const std::string& text, const std::string& part) {
  EXPECT_NE(text.find(part), std::string::npos) << "no '" << part << "' in: " << text;
}

TEST(GroupDeadline, NamesTheRanksThatAreMissing) {
  const std::string text = error_of(4,
                                    [](const Group& world) {
                                      if (world.rank() == 1 || world.rank() == 2)
                                        sleep_seconds(1.5);
                                      const Tensor tensor = Tensor::zeros({3, 2}, DType::kF32);
                                      world.set_step(17);
                                      world.all_reduce(tensor).wait();
                                    },
                                    5.0, {.deadline_seconds = 0.3});
  expect_in(text, "all_reduce on group world");
  expect_in(text, "waited 0.3 s for ranks 1, 2 (");
  expect_in(text, "24 B f32");
  expect_in(text, "step 17");
  expect_in(text, "parallel/group_failure_test.cpp:");
}

TEST(GroupDeadline, NamesTheSenderByItsWorldRank) {
  const std::string text = error_of(4,
                                    [](const Group& world) {
                                      const Group odd = world.split(world.rank() % 2, 0, "odd");
                                      if (world.rank() == 3) sleep_seconds(1.0);
                                      if (world.rank() == 1)
                                        odd.recv(Tensor::zeros({1}, DType::kF32), 1).wait();
                                    },
                                    5.0, {.deadline_seconds = 0.2});
  expect_in(text, "rank 1: recv on group odd: waited 0.2 s for rank 3 (");
}

TEST(GroupDeadline, IsNotReachedByALateRank) {
  run_ranks(3,
            [](const Group& world) {
              if (world.rank() == 2) sleep_seconds(0.5);
              world.barrier();
            },
            {.deadline_seconds = 5});
}

// Without the agreement before every collective (contract_test.cpp), what arrives is compared.
TEST(GroupMismatch, OfSizesNamesBothSites) {
  const std::string text = error_of(3,
                                    [](const Group& world) {
                                      const Tensor tensor =
                                          Tensor::zeros({world.rank() == 1 ? 9 : 8}, DType::kF32);
                                      if (world.rank() == 1) {
                                        world.all_reduce(tensor).wait();
                                      } else {
                                        world.all_reduce(tensor).wait();
                                      }
                                    },
                                    2.0, {.check_collectives = false});
  expect_in(text, "disagree on operation 0");
  expect_in(text, "36 bytes of f32");
  expect_in(text, "32 bytes of f32");
  EXPECT_NE(text.find("group_failure_test.cpp:"), text.rfind("group_failure_test.cpp:")) << text;
}

TEST(GroupMismatch, OfOperationsNamesBoth) {
  const std::string text = error_of(2,
                                    [](const Group& world) {
                                      if (world.rank() == 0) {
                                        world.barrier();
                                      } else {
                                        world.all_reduce(Tensor::zeros({4}, DType::kF64)).wait();
                                      }
                                    },
                                    2.0, {.check_collectives = false});
  expect_in(text, "barrier at ");
  expect_in(text, "all_reduce at ");
}

TEST(GroupMismatch, OfTypesIsFound) {
  const std::string text =
      error_of(2,
               [](const Group& world) {
                 const DType dtype = world.rank() == 0 ? DType::kF32 : DType::kI32;
                 world.all_gather(Tensor::zeros({4}, dtype), Tensor::zeros({8}, dtype)).wait();
               },
               2.0, {.check_collectives = false});
  expect_in(text, "f32");
  expect_in(text, "i32");
}

TEST(GroupMismatch, OfMessagesIsFound) {
  const std::string text = error_of(2,
                                    [](const Group& world) {
                                      if (world.rank() == 0)
                                        world.send(Tensor::zeros({4}, DType::kF32), 1).wait();
                                      if (world.rank() == 1)
                                        world.recv(Tensor::zeros({5}, DType::kF32), 0).wait();
                                    },
                                    2.0, {.check_collectives = false});
  expect_in(text, "wants 20 bytes of f32");
  expect_in(text, "sends 16 bytes of f32");
}

TEST(GroupArguments, AreRefusedWithTheSite) {
  const std::string text = error_of(
      2,
      [](const Group& world) {
        const int64_t rows[] = {2, 2};
        const Tensor five = Tensor::zeros({5, 3}, DType::kF32);
        world.all_to_all(five, rows, five, rows).wait();
      },
      2.0, {}, ErrorKind::kInternal);
  expect_in(text, "row counts add up to 4, got f32 [5, 3]");
  expect_in(text, "group_failure_test.cpp:");
}

TEST(RunRanks, AnErrorWakesTheOthersAndNamesItsRank) {
  std::atomic<int> woken{0};
  const std::string text = error_of(
      4,
      [&](const Group& world) {
        if (world.rank() == 2) {
          sleep_seconds(0.1);
          throw_error(ErrorKind::kNumeric, "the loss is not finite");
        }
        try {
          if (world.rank() == 3) {
            world.recv(Tensor::zeros({1}, DType::kF32), 2).wait();
          } else {
            world.barrier();
          }
        } catch (const Error& error) {
          expect_in(error.what(), "rank 2 ended: the loss is not finite");
          ++woken;
          throw;
        }
      },
      0.9, {}, ErrorKind::kNumeric);  // waiting ranks look around by themselves after a second
  EXPECT_EQ(text, "rank 2: the loss is not finite");
  EXPECT_EQ(woken, 3);
}

TEST(RunRanks, AnyExceptionIsReported) {
  const std::string text = error_of(
      2, [](const Group&) { throw std::runtime_error("other"); }, 2.0, {}, ErrorKind::kInternal);
  expect_in(text, "other");
}

TEST(RunRanks, ARankThatReturnsIsNotWaitedFor) {
  const std::string text = error_of(
      3,
      [](const Group& world) {
        if (world.rank() != 1) world.barrier();
      },
      2.0);
  expect_in(text, "rank 1 has ended without taking part");
}

TEST(RunRanks, AbortWakesTheOthers) {
  const std::string text = error_of(
      3,
      [](const Group& world) {
        if (world.rank() == 1) {
          world.abort("disk full");
          return;
        }
        world.barrier();
      },
      2.0);
  expect_in(text, "rank 1 ended: disk full");
}

TEST(RunRanks, InstallsAContextPerRank) {
  run_ranks(3,
            [](const Group& world) {
              EXPECT_EQ(context().rank, world.rank());
              EXPECT_EQ(context().world_size, 3);
              EXPECT_EQ(context().num_threads, 2);
              EXPECT_EQ(context().label, "r" + std::to_string(world.rank()));
              const Tensor tensor = Tensor::zeros({1000 * (world.rank() + 1)}, DType::kF32);
              EXPECT_EQ(context().ledger->total_bytes(), tensor.bytes());
              world.barrier();
            },
            {.threads_per_rank = 2});
}

TEST(Work, DroppedWorkStillCompletes) {
  run_ranks(3, [](const Group& world) {
    const Tensor tensor = Tensor::zeros({50000}, DType::kF64);
    tensor.as<double>()[49999] = world.rank() + 1;
    Work kept = world.all_reduce(tensor);
    world.all_reduce(tensor.clone());
    world.recv(Tensor::zeros({50000}, DType::kF64), (world.rank() + 2) % 3);
    world.send(tensor.clone(), (world.rank() + 1) % 3);
    // Rank 0 leaves with everything under way; the others get its second phases all the same.
    if (world.rank() == 0) return;
    kept.wait();
    EXPECT_EQ(tensor.as<double>()[49999], 6.0);
  });
}

TEST(Ring, ShowsTheLastOperations) {
  const auto body = [](const Group& world) {
    for (int i = 0; i < 300; ++i) {
      world.set_step(i);
      world.barrier();
    }
    const std::string text = world.ring_text(2);
    expect_in(text, "#298 step 298 barrier world 0 B u8 at parallel/group_failure_test.cpp:");
    expect_in(text, "#299 step 299 barrier world");
    EXPECT_EQ(text.find("#297"), std::string::npos);
    EXPECT_EQ(text.find("pending"), std::string::npos);
    const std::string all = world.ring_text(1000);
    EXPECT_EQ(std::count(all.begin(), all.end(), '\n'), 256);
    const Tensor tensor = Tensor::zeros({1}, DType::kF32);
    if (world.rank() == 0) {
      Work work = world.recv(tensor, 1);
      expect_in(world.ring_text(1), "recv world 4 B f32");
      expect_in(world.ring_text(1), "pending for");
      world.barrier();
      work.wait();
      expect_in(world.ring_text(2), "done in");
    } else {
      world.barrier();
      world.send(tensor, 0).wait();
    }
  };
  run_ranks(2, body, {.check_collectives = false});  // ranks call barrier at different lines
}

}  // namespace
}  // namespace orthant
