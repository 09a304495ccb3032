// SPDX-License-Identifier: Apache-2.0
// Every operation of Group, on ranks and tensors of whatever kind the program says
// (group_world.h).
#include <gtest/gtest.h>

#include <cstring>

#include "base/philox.h"
#include "tests/parallel/group_world.h"

namespace orthant {
namespace {

const PhiloxKey kKey = make_key(1, RandomPurpose::kTest, "group");

// On this rank's device, as is every tensor here.
Tensor random(const Shape& shape, DType dtype, int rank) {
  std::vector<double> values;
  for (int64_t i = 0; i < shape.numel(); ++i) {
    values.push_back(philox_normal(kKey, static_cast<uint64_t>(rank), static_cast<uint64_t>(i)));
  }
  return Tensor::from(shape, values, dtype, group_world::device());
}

// Rows [n, 3] of i64 that name sender, receiver and place.
Tensor marked(int64_t n, int from, int to) {
  const Tensor rows = Tensor::empty({n, 3}, DType::kI64);
  for (int64_t i = 0; i < n; ++i) {
    int64_t* row = rows.as<int64_t>() + 3 * i;
    row[0] = from;
    row[1] = to;
    row[2] = i;
  }
  return rows.to(group_world::device());
}

Tensor empty_rows(int64_t n) { return Tensor::empty({n, 3}, DType::kI64, group_world::device()); }

void expect_same(const Tensor& on_device, const Tensor& other) {
  const Tensor a = on_device.to(Device{}), b = other.to(Device{});
  ASSERT_EQ(a.shape(), b.shape());
  EXPECT_TRUE(a.bytes() == 0 ||
              std::memcmp(a.data(), b.data(), static_cast<size_t>(a.bytes())) == 0);
}

struct Case {
  int size;
  int64_t count;
};

class GroupTest : public testing::TestWithParam<Case> {
 protected:
  int size() const { return GetParam().size; }
  int64_t count() const { return GetParam().count; }
  // Unequal: what `from` sends to `to`.
  int64_t rows(int from, int to) const {
    return count() == 0 ? 0 : count() + (3 * from + 2 * to) % 5 - (count() == 1 ? 1 : 0);
  }
};

TEST_P(GroupTest, AllToAllBringsUnequalRows) {
  group_world::run(size(), [&](const Group& world) {
    std::vector<int64_t> send_rows, recv_rows;
    int64_t sent = 0, received = 0;
    for (int r = 0; r < size(); ++r) {
      send_rows.push_back(rows(world.rank(), r));
      recv_rows.push_back(rows(r, world.rank()));
      sent += send_rows.back();
      received += recv_rows.back();
    }
    const Tensor send = empty_rows(sent);
    const Tensor recv = empty_rows(received);
    int64_t at = 0;
    for (int r = 0; r < size(); ++r) {
      const int64_t n = send_rows[static_cast<size_t>(r)];
      copy(marked(n, world.rank(), r), send.slice(at, at + n));
      at += n;
    }
    world.all_to_all(send, send_rows, recv, recv_rows).wait();
    at = 0;
    for (int r = 0; r < size(); ++r) {
      const int64_t n = recv_rows[static_cast<size_t>(r)];
      expect_same(recv.slice(at, at + n), marked(n, r, world.rank()));
      at += n;
    }
  });
}

TEST_P(GroupTest, AllGatherJoinsUnequalRows) {
  group_world::run(size(), [&](const Group& world) {
    std::vector<int64_t> counts;
    int64_t total = 0;
    for (int r = 0; r < size(); ++r) {
      counts.push_back(rows(r, 0));
      total += counts.back();
    }
    const Tensor recv = empty_rows(total);
    world.all_gather(marked(rows(world.rank(), 0), world.rank(), 7), recv, counts).wait();
    int64_t at = 0;
    for (int r = 0; r < size(); ++r) {
      expect_same(recv.slice(at, at + rows(r, 0)), marked(rows(r, 0), r, 7));
      at += rows(r, 0);
    }
    const Tensor equal = empty_rows(count() * size());
    Work work = world.all_gather(marked(count(), world.rank(), 1), equal);
    while (!work.test()) world.progress();
    for (int r = 0; r < size(); ++r) {
      expect_same(equal.slice(r * count(), (r + 1) * count()), marked(count(), r, 1));
    }
  });
}

TEST_P(GroupTest, BroadcastComesFromTheRoot) {
  group_world::run(size(), [&](const Group& world) {
    for (int root = 0; root < size(); ++root) {
      const Tensor tensor = marked(count(), world.rank(), root);
      world.broadcast(tensor, root).wait();
      expect_same(tensor, marked(count(), root, root));
    }
  });
}

TEST_P(GroupTest, SendAndRecvKeepTheirOrder) {
  if (size() == 1) return;
  group_world::run(size(), [&](const Group& world) {
    const int next = (world.rank() + 1) % size(), last = (world.rank() + size() - 1) % size();
    std::vector<Work> works;
    std::vector<Tensor> received;
    for (int64_t i = 0; i < 3; ++i) {
      works.push_back(world.send(marked(count() + i, world.rank(), next), next));
      received.push_back(empty_rows(count() + i));
      works.push_back(world.recv(received.back(), last));
    }
    for (Work& work : works) work.wait();
    for (int64_t i = 0; i < 3; ++i) {
      expect_same(received[static_cast<size_t>(i)], marked(count() + i, last, world.rank()));
    }
  });
}

TEST_P(GroupTest, AllReduceHasTheBitsOfTheTree) {
  for (const DType dtype : {DType::kF64, DType::kF32, DType::kBF16}) {
    // Small ones take another way than large ones.
    for (const int64_t n : {count(), count() * 7 + 1}) {
      std::vector<Tensor> parts;
      for (int r = 0; r < size(); ++r) parts.push_back(random({n, 5}, dtype, r));
      tree_sum(parts, parts[0]);
      group_world::run(size(), [&](const Group& world) {
        const Tensor tensor = random({n, 5}, dtype, world.rank());
        world.all_reduce(tensor).wait();
        expect_same(tensor, parts[0]);
      });
    }
  }
}

TEST_P(GroupTest, ReduceScatterHasTheBitsOfTheTree) {
  std::vector<int64_t> counts;
  int64_t total = 0;
  for (int r = 0; r < size(); ++r) {
    counts.push_back(rows(r, 1));
    total += counts.back();
  }
  std::vector<Tensor> parts;
  for (int r = 0; r < size(); ++r) parts.push_back(random({total, 3}, DType::kF32, r));
  tree_sum(parts, parts[0]);
  group_world::run(size(), [&](const Group& world) {
    int64_t begin = 0;
    for (int r = 0; r < world.rank(); ++r) begin += counts[static_cast<size_t>(r)];
    const int64_t own = counts[static_cast<size_t>(world.rank())];
    const Tensor recv = Tensor::empty({own, 3}, DType::kF32, group_world::device());
    world.reduce_scatter(random({total, 3}, DType::kF32, world.rank()), recv, counts).wait();
    expect_same(recv, parts[0].slice(begin, begin + own));
  });
}

TEST_P(GroupTest, SmallValuesAndTexts) {
  group_world::run(size(), [&](const Group& world) {
    std::vector<double> mine, want;
    for (int64_t i = 0; i < count(); ++i) {
      const auto at = static_cast<uint64_t>(i);
      mine.push_back(philox_normal(kKey, static_cast<uint64_t>(world.rank()), at));
      double sum = philox_normal(kKey, 0, at);
      for (int r = 1; r < size(); ++r) sum += philox_normal(kKey, static_cast<uint64_t>(r), at);
      want.push_back(sum);
    }
    EXPECT_EQ(world.sum(mine), want);
    EXPECT_EQ(world.max(-3 - world.rank()), -3);
    const auto texts =
        world.gather_text(std::string(static_cast<size_t>(rows(world.rank(), 2)), 'x'));
    ASSERT_EQ(texts.size(), static_cast<size_t>(size()));
    for (int r = 0; r < size(); ++r) {
      EXPECT_EQ(texts[static_cast<size_t>(r)].size(), static_cast<size_t>(rows(r, 2)));
    }
    world.barrier();
  });
}

TEST_P(GroupTest, SeveralSumsAreUnderWayAtOnce) {
  group_world::run(size(), [&](const Group& world) {
    const Group pair = world.split(world.rank() / 2, 0, "pair");
    std::vector<Tensor> tensors;
    std::vector<Work> works;
    for (int64_t i = 0; i < 4; ++i) {
      tensors.push_back(random({count() + 3000 * i, 2}, DType::kF32, world.rank()));
      works.push_back((i % 2 ? pair : world).all_reduce(tensors.back()));
      if (world.rank() % 2) world.progress();
    }
    // Waited for in another order on every rank; the tensors' handles die before.
    std::vector<Tensor> kept = tensors;
    tensors.clear();
    for (size_t i = 0; i < 4; ++i) works[(i + static_cast<size_t>(world.rank())) % 4].wait();
    for (int64_t i = 0; i < 4; ++i) {
      const Group& group = i % 2 ? pair : world;
      std::vector<Tensor> parts;
      for (const int r : group.world_ranks()) {
        parts.push_back(random({count() + 3000 * i, 2}, DType::kF32, r));
      }
      tree_sum(parts, parts[0]);
      expect_same(kept[static_cast<size_t>(i)], parts[0]);
    }
  });
}

std::vector<Case> all_cases() {
  std::vector<Case> cases;
  for (const int size : {1, 2, 3, 4, 7}) {
    for (const int64_t count : {0, 1, 10, 1000}) cases.push_back({size, count});
  }
  return cases;
}

INSTANTIATE_TEST_SUITE_P(Sizes, GroupTest, testing::ValuesIn(all_cases()), [](const auto& info) {
  return "n" + std::to_string(info.param.size) + "_count" + std::to_string(info.param.count);
});

}  // namespace
}  // namespace orthant
