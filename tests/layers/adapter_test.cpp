// SPDX-License-Identifier: Apache-2.0
// The seam for adapters: branches of low rank beside a part of a fused product, and beside one
// expert's product, attached by logical name.
#include <numeric>

#include "layers/grouped_linear.h"
#include "layers/linear.h"
#include "tests/layers/layer_testing.h"

namespace orthant::testing {
namespace {

constexpr int64_t kRank = 2;

// b a x, whose weights are called as the adapted one is.
struct LowRank {
  LowRank(const LayerBuilder& build, const LogicalTensor& base)
      : a(&add_matrix(build, base.name + ".a", base.shape[1], {{base.name + ".a", kRank}},
                      {.dtype = build.dtype})),
        b(&add_matrix(build, base.name + ".b", kRank, {{base.name + ".b", base.shape[0]}},
                      {.dtype = build.dtype})) {}
  Var forward(const Var& x) const { return linear(linear(x, *a), *b); }

  ParameterUse *a, *b;
};

// Rows [begin, end) of x through f; zeros for the others.
Var on_rows(const Var& x, int64_t begin, int64_t end, const std::function<Var(const Var&)>& f) {
  std::vector<int32_t> rows(static_cast<size_t>(end - begin));
  std::iota(rows.begin(), rows.end(), static_cast<int32_t>(begin));
  std::vector<int32_t> place_of(static_cast<size_t>(x.value().dim(0)), -1);
  for (int64_t r = begin; r < end; ++r)
    place_of[static_cast<size_t>(r)] = static_cast<int32_t>(r - begin);
  const Tensor index = Tensor::from_i32({end - begin}, rows);
  const Tensor places = Tensor::from_i32({x.value().dim(0), 1}, place_of);
  return sum_rows(f(gather_rows(x, index, places)), places, index);
}

// A branch beside the logical weight `name`; asked: every name that layers asked for.
AdapterFactory beside(const std::string& name, std::vector<std::string>& asked) {
  return [name, &asked](const LayerBuilder& build, const Parameter&,
                        std::span<const LogicalTensor> part) -> Branch {
    Branch branch;
    for (size_t e = 0; e < part.size(); ++e) {
      asked.push_back(part[e].name);
      if (part[e].name != name) continue;
      branch = [low = LowRank(build, part[e]), e](const Var& x, const RowOffsets& offsets) {
        const auto forward = [&](const Var& v) { return low.forward(v); };
        return offsets ? on_rows(x, (*offsets)[e], (*offsets)[e + 1], forward) : forward(x);
      };
    }
    return branch;
  };
}

bool is_base(const std::string& name) { return !name.ends_with(".a") && !name.ends_with(".b"); }

Values low_rank_of(const ParameterStore& store, const std::string& name, const Values& x, size_t in,
                   size_t out) {
  return times_transposed(times_transposed(x, values_of(store, name + ".a"), in, kRank),
                          values_of(store, name + ".b"), kRank, out);
}

Linear make_qkv(const LayerBuilder& build) {
  return Linear(build, "qkv", 5, {{"q_proj", 4}, {"k_proj", 2}, {"v_proj", 3}},
                {.dtype = DType::kF64});
}

TEST(AdapterTest, StandsBesideOnePartOfAFusedProduct) {
  const Tensor x = random_tensor({3, 5}, DType::kF64, "x");
  for (const auto& [name, begin, width] :
       {std::tuple("q_proj", size_t{0}, size_t{4}), std::tuple("v_proj", size_t{6}, size_t{3})}) {
    ParameterStore store;
    std::vector<std::string> asked;
    LayerBuilder build = builder_of(store);
    build.adapters = beside(name, asked);
    const Linear layer = make_qkv(build);
    EXPECT_EQ(asked, (std::vector<std::string>{"q_proj", "k_proj", "v_proj"}));
    fill_randomly(store);
    store.freeze(is_base);
    Values want = times_transposed(x.to_doubles(), values_of(store, "qkv"), 5, 9);
    const Values added = low_rank_of(store, name, x.to_doubles(), 5, width);
    for (size_t r = 0; r < 3; ++r)
      for (size_t i = 0; i < width; ++i) want[r * 9 + begin + i] += added[r * width + i];
    expect_near(layer.forward(Var(x)).value(), want, name);
    // The base is frozen: gradients by x and by the branch's weights.
    EXPECT_FALSE(layer.weight().trainable());
    check_gradients(store, x, [&](const Var& v) { return layer.forward(v); });
  }
}

TEST(AdapterTest, StandsBesideOneExpert) {
  ParameterStore store;
  std::vector<std::string> asked;
  LayerBuilder build = builder_of(store);
  build.adapters = beside("experts.1.down_proj", asked);
  const GroupedLinear layer(build, "down", "experts.", {.count = 3}, InnerDim::kIn, 4,
                            {{"down_proj", 5}});
  EXPECT_EQ(asked, (std::vector<std::string>{"experts.0.down_proj", "experts.1.down_proj",
                                             "experts.2.down_proj"}));
  fill_randomly(store);
  store.freeze(is_base);
  const Tensor x = random_tensor({7, 4}, DType::kF64, "x");
  const RowOffsets offsets =
      std::make_shared<const std::vector<int64_t>>(std::vector<int64_t>{0, 2, 5, 7});
  Values want;
  for (size_t e = 0; e < 3; ++e) {
    const Values rows = x.slice((*offsets)[e], (*offsets)[e + 1]).to_doubles();
    Values part = times_transposed(rows, values_of(store, "down"), 4, 5, e * 5 * 4);
    const Values added = low_rank_of(store, "experts.1.down_proj", rows, 4, 5);
    for (size_t i = 0; i < part.size(); ++i) want.push_back(part[i] + (e == 1 ? added[i] : 0.0));
  }
  expect_near(layer.forward(Var(x), offsets).value(), want);
  check_gradients(store, x, [&](const Var& v) { return layer.forward(v, offsets); });
}

// Where nothing is attached, the product has its own bits, and the store its own parameters.
TEST(AdapterTest, NothingChangesWhereNothingIsAttached) {
  const Tensor x = random_tensor({3, 5}, DType::kF64, "x");
  const auto run = [&](const AdapterFactory& adapters) {
    ParameterStore store;
    LayerBuilder build = builder_of(store);
    build.adapters = adapters;
    const Linear layer = make_qkv(build);
    EXPECT_EQ(store.all().size(), 1U);
    fill_randomly(store);
    return layer.forward(Var(x)).value().to_doubles();
  };
  std::vector<std::string> asked;
  EXPECT_EQ(run({}), run(beside("o_proj", asked)));
  EXPECT_EQ(asked.size(), 3U);
}

}  // namespace
}  // namespace orthant::testing
