// SPDX-License-Identifier: Apache-2.0
// Planted breaches of the collective contract on ranks that are threads; tests/mpi/test_contract.py
// plants them in processes.  Each must be reported by name, in time.
#include <gtest/gtest.h>

#include <chrono>
#include <cstdio>
#include <thread>

#include "base/clock.h"
#include "base/error.h"
#include "parallel/comm/threads/run_ranks.h"

namespace orthant {
namespace {

void sleep_seconds(double seconds) {
  std::this_thread::sleep_for(std::chrono::duration<double>(seconds));
}

Tensor floats(int64_t count) { return Tensor::zeros({count}, DType::kF32); }

// "contract_test.cpp:33" of this many lines below the call.
std::string below(int lines, Site site = Site::current()) {
  return concat("parallel/contract_test.cpp:", site.line() + static_cast<unsigned>(lines));
}

struct Case {
  std::string name;
  int ranks;
  std::function<void(const Group&)> body;
  std::vector<std::string> wanted;  // in the report
  double seconds;                   // until when it must be there
  double deadline_seconds = 30;
  bool checked = true;
};

// "" when the case was reported as it should be.
std::string fault_of(const Case& planted) {
  const double start = now_seconds();
  std::string text;
  try {
    run_ranks(planted.ranks, planted.body,
              {.deadline_seconds = planted.deadline_seconds, .check_collectives = planted.checked});
  } catch (const Error& error) {
    text = error.what();
  }
  const double took = now_seconds() - start;
  if (text.empty()) return "nothing was thrown";
  if (took > planted.seconds) return concat("took ", took, " s: ", text);
  for (const std::string& part : planted.wanted) {
    if (text.find(part) == std::string::npos) return concat("no '", part, "' in: ", text);
  }
  const bool in_vain = text.find("waits in vain") != std::string::npos;
  if (in_vain && text.find("parallel.timeout_seconds") != std::string::npos)
    return concat("advises to wait longer, in vain: ", text);
  return "";
}

std::vector<Case> planted_cases() {
  std::vector<Case> cases;
  const std::string one = below(8), two = below(6);
  cases.push_back(
      {"wrong operation",
       3,
       [](const Group& world) {
         if (world.rank() == 1) {
           world.broadcast(floats(8), 0).wait();
         } else {
           world.all_reduce(floats(8)).wait();
         }
       },
       {"about the operation", "rank 0 calls all_reduce", "rank 1 calls broadcast", one, two},
       2});
  cases.push_back({"wrong dtype",
                   2,
                   [](const Group& world) {
                     const DType dtype = world.rank() == 1 ? DType::kF64 : DType::kF32;
                     world.all_reduce(Tensor::zeros({8}, dtype)).wait();
                   },
                   {"about the dtype", "rank 0 calls", "in f32", "rank 1 calls", "in f64"},
                   2});
  cases.push_back(
      {"wrong count",
       4,
       [](const Group& world) { world.all_reduce(floats(world.rank() == 2 ? 9 : 8)).wait(); },
       {"about the number of elements", "rank 0 calls all_reduce on group world of 8 e",
        "rank 2 calls all_reduce on group world of 9 e"},
       2});
  cases.push_back(
      {"wrong root",
       3,
       [](const Group& world) { world.broadcast(floats(4), world.rank() == 2 ? 1 : 0).wait(); },
       {"about the root", "rank 0 calls", "with root 0", "rank 2 calls", "with root 1"},
       2});
  cases.push_back({"another step",
                   2,
                   [](const Group& world) {
                     world.set_step(world.rank() == 0 ? 7 : 8);
                     world.barrier();
                   },
                   {"about the step", "rank 0 calls", "(step 7)", "rank 1 calls", "(step 8)"},
                   2});
  const std::string first = below(4), second = below(5);
  cases.push_back({"one rank misses a collective of the same shape",
                   3,
                   [](const Group& world) {
                     if (world.rank() != 1) world.all_reduce(floats(8)).wait();
                     world.all_reduce(floats(8)).wait();
                   },
                   {"about the call site", "rank 0 calls", "rank 1 calls", first, second},
                   2});
  cases.push_back({"rows of all_to_all that do not fit",
                   3,
                   [](const Group& world) {
                     std::vector<int64_t> send(3, 2), recv(3, 2);
                     if (world.rank() == 2) recv[1] = 3;
                     const Tensor from = Tensor::zeros({6, 4}, DType::kF32);
                     const Tensor to = Tensor::zeros({recv[1] + 4, 4}, DType::kF32);
                     world.all_to_all(from, send, to, recv).wait();
                   },
                   {"the rows that rank 1 sends (2) and rank 2 expects of it (3)",
                    "rank 1 calls all_to_all", "rank 2 calls all_to_all"},
                   2});
  cases.push_back({"rows of all_gather that differ",
                   3,
                   [](const Group& world) {
                     const std::vector<int64_t> rows = {1, 2, world.rank() == 1 ? 4 : 3};
                     const int64_t own = rows[static_cast<size_t>(world.rank())];
                     world.all_gather(floats(own), floats(3 + rows[2]), rows).wait();
                   },
                   {"about the rows of rank 2 (3 and 4)", "rank 0 calls", "rank 1 calls"},
                   2});
  for (const bool checked : {true, false}) {
    cases.push_back({"two groups in crossed order",
                     2,
                     [](const Group& world) {
                       const Group a = world.split(0, 0, "a"), b = world.split(0, 0, "b");
                       const Group& mine = world.rank() == 0 ? a : b;
                       const Group& other = world.rank() == 0 ? b : a;
                       mine.all_reduce(floats(8)).wait();
                       other.all_reduce(floats(8)).wait();
                     },
                     {"all_reduce on group ", "waits in vain", "waits for this rank",
                      "in different orders on different ranks", "on group a", "on group b"},
                     4,
                     30,
                     checked});
  }
  cases.push_back({"crossed order without waiting",
                   2,
                   [](const Group& world) {
                     const Group a = world.split(0, 0, "a"), b = world.split(0, 0, "b");
                     Work x = (world.rank() == 0 ? a : b).all_reduce(floats(8));
                     Work y = (world.rank() == 0 ? b : a).all_reduce(floats(8));
                     x.wait();
                     y.wait();
                   },
                   {"in different orders on different ranks", "on group a", "on group b"},
                   4});
  for (const bool checked : {true, false}) {
    const std::string last = below(6);
    cases.push_back(
        {"a rank that misses a collective, and computes",
         3,
         [](const Group& world) {
           world.set_step(4);
           world.barrier();
           if (world.rank() == 1) sleep_seconds(1.2);
           if (world.rank() != 1) world.all_reduce(floats(8)).wait();
         },
         {"all_reduce on group world: waited 0.", "s for rank 1 (",
          "rank 1 has been in its own code for 0.", "last it called barrier on group world", last,
          "(step 4)", "rank 0 has waited 0.", "rank 2 has waited 0.", "its process"},
         3,
         0.6,
         checked});
  }
  cases.push_back({"a rank that has ended",
                   3,
                   [](const Group& world) {
                     if (world.rank() != 2) world.barrier();
                   },
                   {"rank 2 has ended"},
                   2});
  cases.push_back({"a rank that threw",
                   3,
                   [](const Group& world) {
                     if (world.rank() == 2) throw_error(ErrorKind::kData, "x.bin: bad magic");
                     world.barrier();
                   },
                   {"rank 2: x.bin: bad magic"},
                   2});
  const std::string sent = below(5);
  cases.push_back({"a message that nobody receives",
                   2,
                   [](const Group& world) {
                     world.barrier();
                     if (world.rank() == 0) world.send(floats(8), 1).wait();
                     world.barrier();
                   },
                   {"never received", "32 bytes of f32 to rank 1", sent},
                   2});
  cases.push_back({"a message that nobody sends",
                   2,
                   [](const Group& world) {
                     if (world.rank() == 0) world.recv(floats(8), 1).wait();
                     sleep_seconds(1.0);
                   },
                   {"recv on group world: waited 0.", "rank 1 has been in its own"},
                   3,
                   0.4});
  cases.push_back({"messages of two dtypes",
                   2,
                   [](const Group& world) {
                     if (world.rank() == 0) world.send(floats(8), 1).wait();
                     if (world.rank() == 1) world.recv(Tensor::zeros({8}, DType::kI32), 0).wait();
                   },
                   {"disagree on a message about the dtype", "rank 1 calls recv",
                    "rank 0 calls send", "in f32", "in i32"},
                   2});
  cases.push_back({"messages of two steps",
                   2,
                   [](const Group& world) {
                     world.set_step(world.rank());
                     if (world.rank() == 0) world.send(floats(8), 1).wait();
                     if (world.rank() == 1) world.recv(floats(8), 0).wait();
                   },
                   {"disagree on a message about the step", "(step 0)", "(step 1)"},
                   2});
  return cases;
}

TEST(Contract, PlantedBreachesAreReportedByNameInTime) {
  int caught = 0, planted = 0;
  for (const Case& breach : planted_cases()) {
    ++planted;
    const std::string fault = fault_of(breach);
    EXPECT_EQ(fault, "") << breach.name << (breach.checked ? "" : ", not checked");
    caught += fault.empty();
  }
  std::printf("contract, thread ranks: caught %d of %d planted\n", caught, planted);
}

TEST(Contract, AMismatchIsTheSameErrorOnAllRanksAndMovesNoData) {
  run_ranks(4, [](const Group& world) {
    const Tensor tensor = floats(8);
    tensor.as<float>()[0] = static_cast<float>(world.rank());
    std::string mine;
    try {
      world.all_reduce(world.rank() == 3 ? tensor.slice(0, 7) : tensor).wait();
    } catch (const Error& error) {
      mine = error.what();
    }
    EXPECT_EQ(tensor.as<float>()[0], static_cast<float>(world.rank()));
    for (const std::string& text : world.gather_text(mine)) {
      EXPECT_EQ(text, mine);
      EXPECT_NE(text.find("rank 3 calls"), std::string::npos) << text;
    }
  });
}

TEST(Contract, ALateRankIsReportedAndThenGoesOn) {
  testing::internal::CaptureStderr();
  run_ranks(3,
            [](const Group& world) {
              if (world.rank() == 0) sleep_seconds(1.0);
              EXPECT_EQ(world.sum(1.0), 3.0);
            },
            {.deadline_seconds = 2});
  const std::string text = testing::internal::GetCapturedStderr();
  for (const char* part :
       {"sum on group world: has waited 0.", "s for rank 0 (", "it gives up after 2 s",
        "rank 0 has been in its own code for 0.", "rank 0 came after 1"}) {
    EXPECT_NE(text.find(part), std::string::npos) << "no '" << part << "' in: " << text;
  }
  const std::string once = "it gives up after";
  EXPECT_EQ(text.find(once), text.rfind(once)) << "more than one rank warned: " << text;
}

// What looks like crossed order, but goes on: rank 1 waits in another group for a rank that is
// late.
TEST(Contract, AChainOfWaitingIsNoCrossedOrder) {
  run_ranks(3, [](const Group& world) {
    const Group low = world.split(world.rank() < 2 ? 0 : -1, 0, "low");
    const Group high = world.split(world.rank() > 0 ? 0 : -1, 0, "high");
    if (world.rank() == 2) sleep_seconds(2.5);
    if (world.rank() > 0) high.all_reduce(floats(8)).wait();
    if (world.rank() < 2) low.all_reduce(floats(8)).wait();
  });
}

TEST(Contract, SitesOfWrappersAreTheCallers) {
  run_ranks(2, [](const Group& world) {
    const std::string here = below(1);
    world.split(0, 0, "part");
    EXPECT_NE(world.ring_text(1).find(concat("split world 16 B i64 at ", here)), std::string::npos)
        << world.ring_text(1);
    const std::string there = below(1);
    world.gather_text("x");
    EXPECT_NE(world.ring_text(1).find(there), std::string::npos) << world.ring_text(1);
  });
}

}  // namespace
}  // namespace orthant
