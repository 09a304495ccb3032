// SPDX-License-Identifier: Apache-2.0
// Tensors that travel through a copy in host memory: the same bits as without.
#include <gtest/gtest.h>

#include <cstring>
#include <map>
#include <mutex>

#include "base/context.h"
#include "base/philox.h"
#include "parallel/collectives.h"
#include "parallel/comm/host_group.h"
#include "parallel/comm/threads/run_ranks.h"

namespace orthant {
namespace {

Tensor random(const Shape& shape, DType dtype, int rank) {
  const PhiloxKey key = make_key(1, RandomPurpose::kTest, "staging");
  std::vector<double> values;
  for (int64_t i = 0; i < shape.numel(); ++i) {
    values.push_back(philox_normal(key, static_cast<uint64_t>(rank), static_cast<uint64_t>(i)));
  }
  return Tensor::from(shape, values, dtype);
}

// What every rank received, by operation and rank.
class Results {
 public:
  void add(const std::string& what, const Group& world, const Tensor& tensor) {
    const std::lock_guard lock(mutex_);
    bytes_[what + " on rank " + std::to_string(world.rank())] = {
        static_cast<const char*>(tensor.data()), static_cast<size_t>(tensor.bytes())};
  }
  const std::map<std::string, std::string>& bytes() const { return bytes_; }

 private:
  std::mutex mutex_;
  std::map<std::string, std::string> bytes_;
};

int64_t rows_between(int from, int to) { return (3 * from + 2 * to) % 4; }  // some are none

void exchange(const Group& world, DType dtype, Results& results) {
  const int n = world.size(), me = world.rank();
  std::vector<int64_t> send_rows, recv_rows, own_rows;
  int64_t sent = 0, received = 0, owned = 0;
  for (int r = 0; r < n; ++r) {
    sent += send_rows.emplace_back(rows_between(me, r));
    received += recv_rows.emplace_back(rows_between(r, me));
    owned += own_rows.emplace_back(rows_between(r, 1));
  }
  const Tensor all = Tensor::zeros({received, 5}, dtype);
  world.all_to_all(random({sent, 5}, dtype, me), send_rows, all, recv_rows).wait();
  results.add("all_to_all", world, all);

  const Tensor gathered = Tensor::zeros({owned, 5}, dtype);
  world.all_gather(random({rows_between(me, 1), 5}, dtype, me), gathered, own_rows).wait();
  results.add("all_gather", world, gathered);

  // In place: what is sent is a part of what is received.
  const Tensor in_place = Tensor::zeros({n * 3, 2}, dtype);
  copy(random({3, 2}, dtype, me), in_place.slice(3 * me, 3 * me + 3));
  world.all_gather(in_place.slice(3 * me, 3 * me + 3), in_place).wait();
  results.add("all_gather in place", world, in_place);

  for (int root = 0; root < n; ++root) {
    const Tensor tensor = random({7, 3}, dtype, me);
    world.broadcast(tensor, root).wait();
    results.add("broadcast from " + std::to_string(root), world, tensor);
  }

  const Tensor next = Tensor::zeros({11}, dtype);
  Work sending = world.send(random({11}, dtype, me), (me + 1) % n);
  world.recv(next, (me + n - 1) % n).wait();
  sending.wait();
  results.add("send and recv", world, next);
  world.barrier();
}

void sum(const Group& world, DType dtype, Results& results) {
  // One exchange, two of unequal slices, and nothing to add.
  for (const int64_t count : {0, 1, 1000, 40001}) {
    const Tensor tensor = random({count}, dtype, world.rank());
    world.all_reduce(tensor).wait();
    results.add("all_reduce of " + std::to_string(count), world, tensor);
  }
  std::vector<int64_t> rows;
  int64_t total = 0;
  for (int r = 0; r < world.size(); ++r) total += rows.emplace_back(rows_between(r, 0));
  const Tensor own = Tensor::zeros({rows[static_cast<size_t>(world.rank())], 9}, dtype);
  world.reduce_scatter(random({total, 9}, dtype, world.rank()), own, rows).wait();
  results.add("reduce_scatter", world, own);

  const double values[] = {1.5 * world.rank(), -2.0};
  results.add("sum", world, Tensor::from({2}, world.sum(values), DType::kF64));
}

void columns(const Group& world, DType dtype, Results& results) {
  const int n = world.size();
  const Var whole(random({6, 3 * n}, dtype, 0));
  const Var own = split_to(whole, -1, world);
  results.add("split_to", world, own.value());
  results.add("gather", world, gather_replicated(own, -1, world).value());
  const Var partial(random({6, 3 * n}, dtype, world.rank()));
  results.add("reduce_scatter of columns", world, reduce_scatter(partial, -1, world).value());
}

TEST(Staging, GivesTheSameBits) {
  for (const int ranks : {2, 3, 4}) {
    for (const DType dtype : {DType::kF64, DType::kF32, DType::kBF16}) {
      Results direct, staged;
      for (Results* results : {&direct, &staged}) {
        run_ranks(ranks,
                  [&](const Group& world) {
                    exchange(world, dtype, *results);
                    sum(world, dtype, *results);
                    columns(world, dtype, *results);
                  },
                  {.stage_everything = results == &staged});
      }
      ASSERT_EQ(direct.bytes().size(), staged.bytes().size());
      for (const auto& [what, bytes] : direct.bytes()) {
        EXPECT_TRUE(bytes == staged.bytes().at(what)) << what << ", " << name_of(dtype);
      }
    }
  }
}

int64_t staged_bytes() { return context().ledger->bytes(MemoryCategory::kCommunication); }

// The tensor is written when the operation completes, and by nobody before.
TEST(Staging, KeepsWhatArrivesInHostMemoryUntilItIsDone) {
  for (const bool staging : {false, true}) {
    run_ranks(2,
              [&](const Group& world) {
                if (world.rank() == 0) {
                  const Tensor tensor = Tensor::zeros({1000}, DType::kF32);
                  Work work = world.recv(tensor, 1);
                  EXPECT_EQ(staged_bytes() > 0, staging);
                  world.barrier();
                  work.wait();
                  EXPECT_EQ(tensor.as<float>()[999], 2.0F);
                  EXPECT_EQ(staged_bytes(), 0);
                } else {
                  world.barrier();
                  const Tensor tensor =
                      Tensor::from({1000}, std::vector<double>(1000, 2.0), DType::kF32);
                  Work work = world.send(tensor, 0);
                  // What was posted has its own copy.
                  if (staging) std::memset(tensor.data(), 0, static_cast<size_t>(tensor.bytes()));
                  work.wait();
                }
              },
              {.check_collectives = false, .stage_everything = staging});
  }
}

TEST(Staging, IsForDevicesOnly) {
  EXPECT_FALSE(must_stage(Device{}, false));
  EXPECT_TRUE(must_stage(Device{}, true));
  EXPECT_TRUE(must_stage(Device{DeviceType::kCuda, 1}, false));
}

}  // namespace
}  // namespace orthant
