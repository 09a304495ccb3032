// SPDX-License-Identifier: Apache-2.0
// Groups that move device tensors through the backend: the cases of group_conformance.cpp run on
// them here, and this is what goes wrong (fake_comm.cpp).
#include "parallel/comm/device_group.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <atomic>
#include <chrono>
#include <thread>

#include "base/clock.h"
#include "base/context.h"
#include "base/error.h"
#include "base/log.h"
#include "parallel/comm/threads/run_ranks.h"
#include "parallel/comm/transport.h"
#include "tensor/allocator.h"
#include "tests/fake_device/fake_control.h"
#include "tests/parallel/group_world.h"
#include "trainer/device.h"

namespace orthant {

Device group_world::device() { return {DeviceType::kCuda, context().rank}; }

// Every exchange ends at another time.
void group_world::run(int size, const std::function<void(const Group&)>& body) {
  log::set_quiet(true);
  testing::fake_control().reset();
  testing::fake_control().delay_seconds = 200e-6;
  run_ranks(
      size,
      [&](const Group& world) { body(connect_devices(world, device(), DeviceTransport::kNccl)); },
      {.deadline_seconds = 15});
  EXPECT_EQ(testing::fake_control().num_comms, 0);
  EXPECT_EQ(testing::fake_control().num_aborts, 0);
}

namespace {

using testing::fake_control;
using ::testing::HasSubstr;

void sleep_seconds(double seconds) {
  std::this_thread::sleep_for(std::chrono::duration<double>(seconds));
}

Tensor on_device(const Shape& shape, double value, DType dtype = DType::kF32) {
  const std::vector<double> values(static_cast<size_t>(shape.numel()), value);
  return Tensor::from(shape, values, dtype, group_world::device());
}

class DeviceGroup : public ::testing::Test {
 protected:
  DeviceGroup() { fake_control().reset(); }
  ~DeviceGroup() override {
    fake_control().reset();
    EXPECT_EQ(fake_control().num_comms, 0);
  }
  // Runs connected ranks; the error that comes within `seconds`.
  static std::string error_of(int n, const std::function<void(const Group&)>& body,
                              double deadline_seconds = 20, double seconds = 5) {
    const double start = now_seconds();
    try {
      run_ranks(n,
                [&](const Group& world) {
                  body(connect_devices(world, group_world::device(), DeviceTransport::kNccl));
                },
                // Unchecked: what the headers of messages find by themselves.
                {.deadline_seconds = deadline_seconds, .check_collectives = false});
    } catch (const Error& error) {
      EXPECT_EQ(error.kind(), ErrorKind::kComm) << error.what();
      EXPECT_LT(now_seconds() - start, seconds) << error.what();
      return error.what();
    }
    ADD_FAILURE() << "nothing was thrown";
    return "";
  }
};

TEST_F(DeviceGroup, MovesDeviceTensorsByTheBackendAndOthersByTheHost) {
  run_ranks(3, [](const Group& world) {
    const Group group = connect_devices(world, group_world::device(), DeviceTransport::kNccl);
    group.barrier();
    const int64_t before = fake_control().num_messages;
    group.barrier();
    const Tensor host = Tensor::zeros({12, 2}, DType::kF32);
    group.all_gather(Tensor::zeros({4, 2}, DType::kF32), host).wait();
    EXPECT_EQ(group.sum(1.0), 3.0);
    group.barrier();
    EXPECT_EQ(fake_control().num_messages, before);
    group.barrier();
    const Tensor all = on_device({12, 2}, 0);
    group.all_gather(on_device({4, 2}, 1), all).wait();
    group.barrier();
    EXPECT_EQ(fake_control().num_messages, before + 6);
  });
}

TEST_F(DeviceGroup, RanksWithoutRowsTakePart) {
  fake_control().delay_seconds = 1e-3;
  run_ranks(4, [](const Group& world) {
    const Group group = connect_devices(world, group_world::device(), DeviceTransport::kNccl);
    // Rank 2 has nothing for anybody, and nobody has anything for rank 1.
    std::vector<int64_t> send_rows, recv_rows;
    int64_t sent = 0, received = 0;
    const auto rows = [](int from, int to) { return from == 2 || to == 1 ? 0 : from + to; };
    for (int r = 0; r < 4; ++r) {
      sent += send_rows.emplace_back(rows(group.rank(), r));
      received += recv_rows.emplace_back(rows(r, group.rank()));
    }
    const Tensor recv = on_device({received, 5}, -1);
    group.all_to_all(on_device({sent, 5}, group.rank()), send_rows, recv, recv_rows).wait();
    std::vector<double> want;
    for (int r = 0; r < 4; ++r)
      want.insert(want.end(), static_cast<size_t>(5 * recv_rows[static_cast<size_t>(r)]), r);
    EXPECT_EQ(recv.to_doubles(), want);
  });
}

// What is posted later on a communicator does not overtake the second phase of an earlier sum.
TEST_F(DeviceGroup, SumsUnderWayKeepTheirOrderOnEveryRank) {
  fake_control().delay_seconds = 2e-3;
  run_ranks(4,
            [](const Group& world) {
              const Group group =
                  connect_devices(world, group_world::device(), DeviceTransport::kNccl);
              std::vector<Tensor> tensors;
              std::vector<Work> works;
              for (int i = 0; i < 6; ++i) {
                tensors.push_back(on_device({20000 + 8 * i}, group.rank() + i));
                works.push_back(group.all_reduce(tensors.back()));
                if (group.rank() % 2) {
                  sleep_seconds(1e-3);
                  group.progress();
                }
              }
              for (int i = 0; i < 6; ++i) {
                works[static_cast<size_t>((i + group.rank()) % 6)].wait();
              }
              for (int i = 0; i < 6; ++i) {
                const std::vector<double> values = tensors[static_cast<size_t>(i)].to_doubles();
                EXPECT_EQ(values, std::vector<double>(values.size(), 6 + 4 * i));
              }
            },
            {.deadline_seconds = 15});
}

// Nobody tells a rank that its device is done.
TEST_F(DeviceGroup, AWaitingRankLooksForItself) {
  fake_control().delay_seconds = 2e-3;
  const double start = now_seconds();
  run_ranks(2, [](const Group& world) {
    const Group group = connect_devices(world, group_world::device(), DeviceTransport::kNccl);
    for (int i = 0; i < 20; ++i) group.all_reduce(on_device({8}, 1)).wait();
  });
  EXPECT_LT(now_seconds() - start, 5.0);
}

// Pairs that send before they receive: neither waits for the other.
TEST_F(DeviceGroup, ASendWaitsForItsReceiverAlone) {
  run_ranks(2, [](const Group& world) {
    const Group group = connect_devices(world, group_world::device(), DeviceTransport::kNccl);
    const int peer = 1 - group.rank();
    std::vector<Work> works;
    std::vector<Tensor> received;
    for (int i = 0; i < 3; ++i) {
      works.push_back(group.send(on_device({100}, 10 * group.rank() + i), peer));
      group.progress();
    }
    const Tensor summed = on_device({8}, 1);
    group.all_reduce(summed).wait();
    for (int i = 0; i < 3; ++i) {
      received.push_back(on_device({100}, -1));
      works.push_back(group.recv(received.back(), peer));
    }
    while (!works.empty()) {  // the last first
      works.back().wait();
      works.pop_back();
    }
    for (int i = 0; i < 3; ++i)
      EXPECT_EQ(received[static_cast<size_t>(i)].to_doubles(),
                std::vector<double>(100, 10 * peer + i));
    EXPECT_EQ(summed.to_doubles(), std::vector<double>(8, 2));
  });
}

TEST_F(DeviceGroup, SplitsAreConnectedAtOnce) {
  run_ranks(4, [](const Group& world) {
    const Group group = connect_devices(world, group_world::device(), DeviceTransport::kNccl);
    const Group half = group.split(group.rank() / 2, -group.rank(), "half");
    const Group alone = group.split(group.rank(), 0, "alone");
    const Group some = group.split(group.rank() == 3 ? -1 : 0, 0, "some");
    group.barrier();
    EXPECT_EQ(fake_control().num_comms, 4 + 4 + 3);
    const Tensor tensor = on_device({3}, group.rank());
    half.all_reduce(tensor).wait();
    EXPECT_EQ(tensor.to_doubles(), std::vector<double>(3, group.rank() < 2 ? 1 : 5));
    const Tensor root = on_device({3}, group.rank());
    half.broadcast(root, 0).wait();
    EXPECT_EQ(root.to_doubles(), std::vector<double>(3, group.rank() < 2 ? 1 : 3));
    alone.all_reduce(tensor).wait();
    group.barrier();
  });
}

TEST_F(DeviceGroup, DeadlineNamesWhoHasNotPosted) {
  const std::string text = error_of(
      4,
      [](const Group& group) {
        if (group.rank() == 1 || group.rank() == 2) sleep_seconds(1.5);
        group.set_step(17);
        group.all_reduce(on_device({3, 2}, 1)).wait();
      },
      0.4);
  EXPECT_THAT(text, HasSubstr("all_reduce on group world: waited 0.4 s for ranks 1, 2 (24 B f32"));
  EXPECT_THAT(text, HasSubstr("step 17"));
  EXPECT_THAT(text, HasSubstr("device_group_test.cpp:"));
}

TEST_F(DeviceGroup, DeadlineNamesThePeerOfAReceive) {
  const std::string text = error_of(
      3,
      [](const Group& group) {
        if (group.rank() == 0) group.recv(on_device({5}, 0), 2).wait();
        if (group.rank() == 2) sleep_seconds(1.0);
      },
      0.3);
  EXPECT_THAT(text, HasSubstr("rank 0: recv on group world: waited 0.3 s for rank 2 ("));
}

TEST_F(DeviceGroup, DeadlineTellsAStuckDeviceFromAMissingRank) {
  const std::string text = error_of(
      3,
      [](const Group& group) {
        fake_control().stalled_rank = 1;
        group.all_gather(on_device({4}, 1), on_device({12}, 0)).wait();
      },
      0.4);
  EXPECT_THAT(text, HasSubstr("all_gather on group world: waited 0.4 s ("));
  EXPECT_THAT(text, HasSubstr("every rank has posted it, but cuda:"));
  EXPECT_THAT(text, HasSubstr("parallel.device_transport: staged"));
  EXPECT_EQ(fake_control().num_aborts, 3);
}

TEST_F(DeviceGroup, AnErrorOfTheDeviceIsReportedInFull) {
  const std::string text = error_of(2, [](const Group& group) {
    const Group pair = group.split(0, -group.rank(), "pair");
    group.barrier();
    fake_control().failing_rank = 0;  // of the pair: rank 1 of the world
    pair.all_gather(on_device({4}, 1), on_device({8}, 0)).wait();
  });
  EXPECT_THAT(text, HasSubstr("rank 1: all_gather of 16 B f32 on group pair at "
                              "fake_device/device_group_test.cpp:"));
  EXPECT_THAT(text, HasSubstr(" on rank 1, cuda:1: fake: the link is down"));
  EXPECT_GE(fake_control().num_aborts, 2);
}

TEST_F(DeviceGroup, ConnectingHasADeadline) {
  fake_control().absent_rank = 1;
  const std::string text = error_of(
      2, [](const Group&) {}, 0.3);
  EXPECT_THAT(text, HasSubstr("connect on group world: waited 0.3 s ("));
  EXPECT_THAT(text, HasSubstr("devices do not find each other"));
}

TEST_F(DeviceGroup, ConnectingNamesWhoDoesNotCome) {
  const std::string text = error_of(
      2,
      [](const Group& group) {
        if (group.rank() == 0) group.split(0, 0, "pair").barrier();
        sleep_seconds(1.0);
      },
      0.3);
  EXPECT_THAT(text, HasSubstr("waited 0.3 s for rank 1 ("));
}

TEST_F(DeviceGroup, SizesThatDoNotFitAreFoundBeforeTheDeadline) {
  const std::string text = error_of(3, [](const Group& group) {
    group.all_reduce(on_device({group.rank() == 1 ? 9 : 8}, 1)).wait();
  });
  EXPECT_THAT(text, HasSubstr("all_reduce of "));
  EXPECT_THAT(text, HasSubstr("ranks disagree on operation "));
  EXPECT_THAT(text, ::testing::AnyOf(HasSubstr("sends 32 bytes where 36 are wanted"),
                                     HasSubstr("sends 36 bytes where 32 are wanted")));
  const std::string message = error_of(2, [](const Group& group) {
    if (group.rank() == 0) group.send(on_device({4}, 1), 1).wait();
    if (group.rank() == 1) group.recv(on_device({5}, 1), 0).wait();
  });
  EXPECT_THAT(message, HasSubstr("rank 0 sends 16 bytes where 20 are wanted"));
}

TEST_F(DeviceGroup, OperationsThatDoNotFitAreFound) {
  const std::string text = error_of(2, [](const Group& group) {
    if (group.rank() == 0) {
      group.broadcast(on_device({4}, 1), 0).wait();
    } else {
      group.all_reduce(on_device({4}, 1)).wait();
    }
  });
  EXPECT_THAT(text, HasSubstr("broadcast at "));
  EXPECT_THAT(text, HasSubstr("all_reduce at "));
}

TEST_F(DeviceGroup, AnErrorWakesTheOthersAndEndsTheirCommunicators) {
  std::atomic<int> woken{0};
  const std::string text = error_of(
      3,
      [&](const Group& group) {
        fake_control().stalled_rank = 2;
        const Tensor all = on_device({6}, 0);
        Work work = group.all_gather(on_device({2}, 1), all);
        if (group.rank() == 2) {
          sleep_seconds(0.2);  // the others have all headers and wait for the device
          throw_error(ErrorKind::kComm, "the disk is full");
        }
        try {
          work.wait();
        } catch (const Error& error) {
          EXPECT_THAT(error.what(), HasSubstr("rank 2 ended: the disk is full"));
          ++woken;
          throw;
        }
      },
      20, 0.9);
  EXPECT_EQ(text, "rank 2: the disk is full");
  EXPECT_EQ(woken, 2);
  EXPECT_EQ(fake_control().num_aborts, 3);
}

TEST_F(DeviceGroup, AbortEndsWhatIsUnderWay) {
  const std::string text = error_of(2, [&](const Group& group) {
    fake_control().stalled_rank = 0;
    Work work = group.all_gather(on_device({2}, 1), on_device({4}, 0));
    if (group.rank() == 1) {
      group.abort("no more");
      EXPECT_EQ(fake_control().num_aborts, 1);
      return;
    }
    work.wait();
  });
  EXPECT_THAT(text, HasSubstr("rank 1 ended: no more"));
}

TEST_F(DeviceGroup, WritesTheRing) {
  run_ranks(2, [](const Group& world) {
    const Group group = connect_devices(world, group_world::device(), DeviceTransport::kNccl);
    group.all_reduce(on_device({4}, 1)).wait();
    EXPECT_THAT(group.ring_text(1), HasSubstr("all_reduce world 16 B f32 at "
                                              "fake_device/device_group_test.cpp:"));
    EXPECT_THAT(group.ring_text(1), HasSubstr("done in"));
    EXPECT_THAT(group.ring_text(2), HasSubstr("connect world"));
    EXPECT_THAT(group.ring_text(100), ::testing::Not(HasSubstr("pending")));
  });
}

// --- Which transport is chosen -------------------------------------------------------------------

TEST_F(DeviceGroup, RanksThatShareADeviceAreStaged) {
  for (const bool shared : {false, true}) {
    fake_control().reset();
    fake_control().share_uuids = shared;
    run_ranks(2, [](const Group& world) {
      const Group group = connect_devices(world, group_world::device(), DeviceTransport::kAuto);
      group.all_reduce(on_device({4}, 1)).wait();
      group.barrier();
    });
    EXPECT_EQ(fake_control().num_messages > 0, !shared);
  }
}

TEST_F(DeviceGroup, StagedIsWhatWasAskedFor) {
  run_ranks(2, [](const Group& world) {
    connect_devices(world, group_world::device(), DeviceTransport::kStaged)
        .all_reduce(on_device({4}, 1))
        .wait();
  });
  EXPECT_EQ(fake_control().num_messages, 0);
}

TEST(Transport, IsChosenByTheFactsOfAllRanks) {
  const RankDevice a{.host = "h", .uuid = "A", .has_comm = true};
  const RankDevice b{.host = "h", .uuid = "B", .has_comm = true};
  RankDevice elsewhere = a, silent = b, apart = a, apart_too = a;
  elsewhere.host = "g";
  silent.has_comm = false;
  apart.host_id = "r0";
  apart_too.host_id = "r1";
  EXPECT_TRUE(choose_transport({a, b, elsewhere}, DeviceTransport::kAuto).is_direct);
  EXPECT_FALSE(choose_transport({a, b}, DeviceTransport::kStaged).is_direct);
  EXPECT_TRUE(choose_transport({a, b}, DeviceTransport::kNccl).is_direct);
  const Transport shared = choose_transport({b, a, a}, DeviceTransport::kAuto);
  EXPECT_FALSE(shared.is_direct);
  EXPECT_EQ(shared.why, "ranks 1 and 2 share the device A of h");
  const Transport missing = choose_transport({a, silent}, DeviceTransport::kAuto);
  EXPECT_FALSE(missing.is_direct);
  EXPECT_THAT(missing.why, HasSubstr("rank 1 has no communication"));
  EXPECT_THROW(choose_transport({a, silent}, DeviceTransport::kNccl), Error);
  try {
    choose_transport({b, a, a}, DeviceTransport::kNccl);
    ADD_FAILURE();
  } catch (const Error& error) {
    EXPECT_EQ(error.kind(), ErrorKind::kConfig);
    EXPECT_THAT(error.what(), HasSubstr("ranks 1 and 2 share the device A"));
    EXPECT_THAT(error.what(), HasSubstr("NCCL_HOSTID"));
  }
  // Processes that pass for machines of their own, by choice only.
  EXPECT_TRUE(choose_transport({apart, apart_too}, DeviceTransport::kNccl).is_direct);
  EXPECT_FALSE(choose_transport({apart, apart_too}, DeviceTransport::kAuto).is_direct);
  EXPECT_THROW(choose_transport({apart, apart}, DeviceTransport::kNccl), Error);
}

// --- Staged transport on a device ----------------------------------------------------------------

TEST(Staged, OnlyWhatTravelsIsCopiedToTheHost) {
  const auto exchange = [](const Group& world) {
    const Ledger& ledger = *context().ledger;
    const Tensor send = on_device({1000, 4}, world.rank()), recv = on_device({1000, 4}, -1);
    const auto me = static_cast<size_t>(world.rank());
    std::vector<int64_t> rows(2, 10);
    rows[me] = 990;
    Work work = world.all_to_all(send, rows, recv, rows);
    EXPECT_LE(ledger.bytes(MemoryCategory::kCommunication), 4 * 10 * 4 * 4);
    work.wait();
    world.barrier();
    EXPECT_EQ(ledger.bytes(MemoryCategory::kCommunication), 0);
    std::vector<double> want(4000, 0);
    const std::ptrdiff_t ones = world.rank() == 0 ? 3960 : 40;
    std::fill(want.begin() + ones, want.end(), 1);
    EXPECT_EQ(recv.to_doubles(), want);
  };
  run_ranks(2, exchange, {.check_collectives = false});  // whose records need memory too
}

TEST(Staged, UsesTheBackendsStagingMemoryAgain) {
  const auto pass = [] {
    run_ranks(2, [](const Group& world) {
      const Tensor tensor = on_device({77777}, world.rank());
      for (int i = 0; i < 3; ++i) {
        if (world.rank() == 0) world.send(tensor, 1).wait();
        if (world.rank() == 1) world.recv(tensor, 0).wait();
        world.barrier();
      }
    });
  };
  for (const int32_t index : {0, 1}) trim_cache({DeviceType::kCuda, index}, MemoryKind::kStaging);
  const int64_t before = fake_control().staging_bytes;
  pass();
  const int64_t first = fake_control().staging_bytes - before;
  EXPECT_GE(first, 2 * 77777 * 4);
  EXPECT_LE(first, 2 * 77777 * 4 * 9 / 8 + 1024);
  pass();
  EXPECT_EQ(fake_control().staging_bytes - before, first);
}

// --- Devices and threads -------------------------------------------------------------------------

TEST(DeviceMemory, IsTheTensorsDeviceOnAnyThread) {
  const auto freed_on = [](int index) {
    const Tensor tensor = Tensor::zeros({5003}, DType::kF32, {DeviceType::kCuda, index});
    return tensor.data();
  };
  fake_control().reset();
  for (const int32_t index : {0, 1}) trim_cache({DeviceType::kCuda, index});
  void *zero = nullptr, *one = nullptr, *again = nullptr;
  std::thread([&] { one = freed_on(1); }).join();  // a thread that chose no device
  EXPECT_EQ(fake_control().last_allocation_device, 1);
  std::thread([&] { zero = freed_on(0); }).join();
  EXPECT_EQ(fake_control().last_allocation_device, 0);
  EXPECT_NE(zero, one);  // a cache for each device
  std::thread([&] { again = freed_on(1); }).join();
  EXPECT_EQ(again, one);
}

}  // namespace
}  // namespace orthant
