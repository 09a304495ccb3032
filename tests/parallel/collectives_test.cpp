// SPDX-License-Identifier: Apache-2.0
// Each conjugate pair is checked by <J v, w> == <v, J^T w> in f64 over k ranks, with the inner
// products of the convention: over sharded and partial tensors they add up over ranks, over
// replicated ones they count once.  The forward values have tests of their own.
#include "parallel/collectives.h"

#include <gtest/gtest.h>

#include <functional>

#include "base/error.h"
#include "base/philox.h"
#include "parallel/comm/threads/run_ranks.h"

namespace orthant {
namespace {

enum class Kind { kOnce, kSummed };  // how inner products of a tensor and its gradient add up

const PhiloxKey kKey = make_key(2, RandomPurpose::kTest, "collectives");

// Of stream `rank`; replicated tensors use one stream on all ranks.
Tensor random(const Shape& shape, int rank, uint64_t which) {
  std::vector<double> values;
  for (int64_t i = 0; i < shape.numel(); ++i) {
    values.push_back(
        philox_normal(kKey, static_cast<uint64_t>(rank) * 100 + which, static_cast<uint64_t>(i)));
  }
  return Tensor::from(shape, values, DType::kF64);
}

double dot(const Tensor& a, const Tensor& b) {
  EXPECT_EQ(a.shape(), b.shape());
  double sum = 0;
  for (int64_t i = 0; i < a.numel(); ++i) sum += a.as<double>()[i] * b.as<double>()[i];
  return sum;
}

double inner(const Tensor& a, const Tensor& b, Kind kind, const Group& group) {
  const double mine = dot(a, b);
  return group.sum(kind == Kind::kSummed || group.rank() == 0 ? mine : 0.0);
}

struct Spaces {
  bool x_replicated, dy_replicated;  // equal values on all ranks, or values of each rank's own
  Kind in, out;
};

void check_adjoint(const Group& group, const Shape& x_shape, const Spaces& spaces,
                   const std::function<Var(const Var&)>& f) {
  const Var x = Var::leaf(random(x_shape, spaces.x_replicated ? 0 : group.rank(), 1));
  const Var y = f(x);
  const Tensor dy = random(y.value().shape(), spaces.dy_replicated ? 0 : group.rank(), 2);
  backward(y, dy);
  ASSERT_TRUE(x.grad().defined());
  const double forward = inner(y.value(), dy, spaces.out, group);
  const double back = inner(x.value(), x.grad(), spaces.in, group);
  EXPECT_NEAR(forward, back, 1e-12 * (1 + std::abs(forward)));
  EXPECT_GT(std::abs(forward), 1e-6);
}

constexpr Spaces kCopyTo{true, false, Kind::kOnce, Kind::kSummed};
constexpr Spaces kReduceFrom{false, true, Kind::kSummed, Kind::kOnce};
constexpr Spaces kSplitTo{true, false, Kind::kOnce, Kind::kSummed};
constexpr Spaces kGatherReplicated{false, true, Kind::kSummed, Kind::kOnce};
constexpr Spaces kGatherPartial{false, false, Kind::kSummed, Kind::kSummed};
constexpr Spaces kReduceScatter{false, false, Kind::kSummed, Kind::kSummed};
constexpr Spaces kAllToAll{false, false, Kind::kSummed, Kind::kSummed};

class CollectivesTest : public testing::TestWithParam<int> {
 protected:
  int n() const { return GetParam(); }
  // Unequal parts, one of them empty from three ranks on.
  std::vector<int64_t> sizes() const {
    std::vector<int64_t> sizes;
    for (int r = 0; r < n(); ++r) sizes.push_back(r == 1 && n() > 2 ? 0 : r + 2);
    return sizes;
  }
  int64_t total() const {
    int64_t total = 0;
    for (const int64_t size : sizes()) total += size;
    return total;
  }
  // [.., size along dim, ..]
  Shape shape(int dim, int64_t size) const {
    return dim == 0 ? Shape{size, 2, 3} : Shape{2, 3, size};
  }
  void for_each_dim(const std::function<void(const Group&, int dim, int64_t own)>& body) const {
    for (const int dim : {0, -1}) {
      run_ranks(n(), [&](const Group& group) {
        body(group, dim, sizes()[static_cast<size_t>(group.rank())]);
      });
    }
  }
};

TEST_P(CollectivesTest, CopyToIsAdjoint) {
  run_ranks(n(), [&](const Group& group) {
    check_adjoint(group, {3, 4}, kCopyTo, [&](const Var& x) { return copy_to(x, group); });
  });
}

TEST_P(CollectivesTest, ReduceFromIsAdjoint) {
  run_ranks(n(), [&](const Group& group) {
    check_adjoint(group, {3, 4}, kReduceFrom, [&](const Var& x) { return reduce_from(x, group); });
  });
}

TEST_P(CollectivesTest, SplitToIsAdjoint) {
  for_each_dim([&](const Group& group, int dim, int64_t) {
    check_adjoint(group, shape(dim, total()), kSplitTo,
                  [&](const Var& x) { return split_to(x, dim, group, sizes()); });
    check_adjoint(group, shape(dim, 2 * n()), kSplitTo,
                  [&](const Var& x) { return split_to(x, dim, group); });
  });
}

TEST_P(CollectivesTest, GatherReplicatedIsAdjoint) {
  for_each_dim([&](const Group& group, int dim, int64_t own) {
    check_adjoint(group, shape(dim, own), kGatherReplicated,
                  [&](const Var& x) { return gather_replicated(x, dim, group, sizes()); });
    check_adjoint(group, shape(dim, 3), kGatherReplicated,
                  [&](const Var& x) { return gather_replicated(x, dim, group); });
  });
}

TEST_P(CollectivesTest, GatherPartialIsAdjoint) {
  for_each_dim([&](const Group& group, int dim, int64_t own) {
    check_adjoint(group, shape(dim, own), kGatherPartial,
                  [&](const Var& x) { return gather_partial(x, dim, group, sizes()); });
    check_adjoint(group, shape(dim, 3), kGatherPartial,
                  [&](const Var& x) { return gather_partial(x, dim, group); });
  });
}

TEST_P(CollectivesTest, ReduceScatterIsAdjoint) {
  for_each_dim([&](const Group& group, int dim, int64_t) {
    check_adjoint(group, shape(dim, total()), kReduceScatter,
                  [&](const Var& x) { return reduce_scatter(x, dim, group, sizes()); });
    check_adjoint(group, shape(dim, 2 * n()), kReduceScatter,
                  [&](const Var& x) { return reduce_scatter(x, dim, group); });
  });
}

TEST_P(CollectivesTest, AllToAllIsAdjoint) {
  run_ranks(n(), [&](const Group& group) {
    std::vector<int64_t> send_rows, recv_rows;
    int64_t sent = 0;
    for (int r = 0; r < n(); ++r) {
      send_rows.push_back((group.rank() + 2 * r) % 3 + (n() == 1 ? 1 : 0));
      recv_rows.push_back((r + 2 * group.rank()) % 3 + (n() == 1 ? 1 : 0));
      sent += send_rows.back();
    }
    check_adjoint(group, {sent, 4}, kAllToAll,
                  [&](const Var& x) { return all_to_all(x, send_rows, recv_rows, group); });
  });
}

// Parts put together again, along both dims, are the whole; every rank's part is the right one.
TEST_P(CollectivesTest, SplitThenGatherIsTheWhole) {
  for_each_dim([&](const Group& group, int dim, int64_t own) {
    const Var whole(random(shape(dim, total()), 0, 3));
    const Var part = split_to(whole, dim, group, sizes());
    EXPECT_EQ(part.value().shape(), shape(dim, own));
    EXPECT_EQ(gather_replicated(part, dim, group, sizes()).value().to_doubles(),
              whole.value().to_doubles());
    const int64_t begin = [&] {
      int64_t sum = 0;
      for (int r = 0; r < group.rank(); ++r) sum += sizes()[static_cast<size_t>(r)];
      return sum;
    }();
    const int64_t row = dim == 0 ? 6 : total(), at = dim == 0 ? begin * 6 : begin;
    if (own > 0) {
      EXPECT_EQ(part.value().to_doubles()[0], whole.value().to_doubles()[static_cast<size_t>(at)]);
      if (dim != 0) {
        EXPECT_EQ(part.value().to_doubles()[static_cast<size_t>(own)],
                  whole.value().to_doubles()[static_cast<size_t>(row + at)]);
      }
    }
  });
}

TEST_P(CollectivesTest, ReduceScatterThenGatherIsTheSum) {
  for_each_dim([&](const Group& group, int dim, int64_t) {
    const Var mine(random(shape(dim, total()), group.rank(), 4));
    const Var sum =
        gather_replicated(reduce_scatter(mine, dim, group, sizes()), dim, group, sizes());
    EXPECT_EQ(sum.value().to_doubles(), reduce_from(mine, group).value().to_doubles());
    std::vector<Tensor> all;
    for (int r = 0; r < n(); ++r) all.push_back(random(shape(dim, total()), r, 4));
    tree_sum(all, all[0]);
    EXPECT_EQ(sum.value().to_doubles(), all[0].to_doubles());
    EXPECT_EQ(mine.value().to_doubles(),
              random(shape(dim, total()), group.rank(), 4).to_doubles());  // untouched
  });
}

INSTANTIATE_TEST_SUITE_P(Ranks, CollectivesTest, testing::Values(1, 2, 3, 4));

TEST(Collectives, RefuseSizesThatDoNotFit) {
  run_ranks(2, [](const Group& group) {
    const Var x(Tensor::zeros({3, 4, 5}, DType::kF64));
    EXPECT_THROW(split_to(x, 0, group), Error);
    EXPECT_THROW(split_to(x, 1, group), Error);
    const int64_t sizes[] = {1, 1};
    EXPECT_THROW(split_to(x, 0, group, sizes), Error);
    EXPECT_THROW(gather_partial(x, -1, group, sizes), Error);
  });
}

}  // namespace
}  // namespace orthant
