// SPDX-License-Identifier: Apache-2.0
// Every entry of a backend's table against the CPU in f64 (docs/backends.md).
//
// Backends: the CPU itself, the CUDA plugin where it can be opened and has a device, and any plugin
// that ORTHANT_CONFORMANCE_PLUGIN names.
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <cstring>
#include <iostream>
#include <set>

#include "base/text.h"
#include "tests/conformance/cases.h"
#include "tests/conformance/under_test.h"

namespace orthant::testing {

const std::vector<ConformanceCase>& all_cases() {
  static const auto* const kCases = [] {
    auto* cases = new std::vector<ConformanceCase>;
    add_product_cases(*cases);
    add_attention_cases(*cases);
    add_elementwise_cases(*cases);
    add_routing_cases(*cases);
    add_training_cases(*cases);
    return cases;
  }();
  return *kCases;
}

namespace {

std::vector<std::string> all_ops() {
  std::vector<std::string> ops;
#define ORTHANT_NAME_OP(op, Args) ops.emplace_back(#op);
  ORTHANT_OPS(ORTHANT_NAME_OP)
#undef ORTHANT_NAME_OP
  return ops;
}

double tolerance_of(Near near, DType model) {
  if (near == Near::kExact) return 0.0;
  return testing::tolerance_of(near == Near::kWide ? wide_of(model) : model);
}

// "" when they agree.
std::string difference(const Result& got, const Result& want, DType model) {
  if (got.values.size() != want.values.size()) return "another number of elements";
  double largest = 0;
  for (const double value : want.values) {
    if (std::isnan(value)) return "the oracle left NaN: the case is wrong";
    largest = std::max(largest, std::fabs(value));
  }
  const double allowed = tolerance_of(got.near, model) * largest;
  for (size_t i = 0; i < want.values.size(); ++i) {
    if (std::fabs(got.values[i] - want.values[i]) <= allowed) continue;
    return concat("element ", i, " of ", want.values.size(), ": got ", got.values[i], ", want ",
                  want.values[i], " within ", allowed);
  }
  return "";
}

std::string difference_from_oracle(const Backend& backend, DType model,
                                   const ConformanceCase& test) {
  const std::string what = concat(test.op, " (", test.name, ") in ", name_of(model), ": ");
  Trial oracle(cpu_backend(), DType::kF64, model), trial(backend, model, model);
  test.body(oracle);
  test.body(trial);
  const auto want = oracle.finish(), got = trial.finish();
  if (!oracle.error().empty()) return concat(what, "on the oracle: ", oracle.error());
  if (!trial.error().empty()) return what + trial.error();
  if (got.empty() || got.size() != want.size()) return what + "other results than the oracle's";
  for (const auto& [name, result] : got) {
    const std::string text = difference(result, want.at(name), model);
    if (!text.empty()) return concat(what, name, ": ", text);
  }
  return "";
}

class Conformance : public ::testing::TestWithParam<std::tuple<std::string, std::string>> {};

TEST_P(Conformance, AgreesWithTheOracle) {
  const auto& [name, op] = GetParam();
  std::string why_not;
  const Backend* backend = backend_under_test(name, why_not);
  if (!backend) GTEST_SKIP() << why_not;
  int cases = 0;
  for (const ConformanceCase& test : all_cases()) {
    if (test.op != op) continue;
    for (const DType model : {DType::kF64, DType::kF32, DType::kBF16}) {
      EXPECT_EQ(difference_from_oracle(*backend, model, test), "");
      ++cases;
    }
  }
  std::cout << "  cases: " << cases << "\n";
}

INSTANTIATE_TEST_SUITE_P(All, Conformance,
                         ::testing::Combine(::testing::ValuesIn(backends_under_test()),
                                            ::testing::ValuesIn(all_ops())),
                         [](const auto& info) {
                           return std::get<0>(info.param) + "_" + std::get<1>(info.param);
                         });

// A case counts for an entry that it really calls.
TEST(ConformanceList, HasACaseForEveryEntry) {
  std::set<std::string> called;
  for (const ConformanceCase& test : all_cases()) {
    Trial run(cpu_backend(), DType::kF64, DType::kF64);
    test.body(run);
    EXPECT_TRUE(run.called().contains(test.op)) << test.op << " (" << test.name << ")";
    called.insert(run.called().begin(), run.called().end());
  }
  for (const std::string& op : all_ops()) EXPECT_TRUE(called.contains(op)) << op << " has no case";
}

// The test itself sees what it is there for.
TEST(ConformanceTrial, SeesStrayWrites) {
  for (const int64_t stray : {-1, 3, 8}) {  // before, between and behind two rows of 3
    Trial run(cpu_backend(), DType::kF32, DType::kF32);
    View y = run.out("y", Kind::kModel, {2, 3}, Near::kExact, 1);
    y.data = static_cast<char*>(y.data) + 4 * stray;
    y.rank = 1, y.shape[0] = 1, y.row_stride = 1;
    CALL(run, fill, FillArgs{.y = y, .value = 1.0});
    run.finish();
    EXPECT_NE(run.error().find("written where nothing may be"), std::string::npos) << stray;
  }
  Trial run(cpu_backend(), DType::kF32, DType::kF32);
  const View x = run.in(Kind::kModel, {4}, constant(2));
  CALL(run, scale, ScaleArgs{.x = x, .y = x, .factor = 2});
  run.finish();
  EXPECT_NE(run.error().find("an input"), std::string::npos);
}

bool finds_fault(const Backend& backend, const std::string& op) {
  for (const ConformanceCase& test : all_cases()) {
    if (test.op == op && !difference_from_oracle(backend, DType::kF32, test).empty()) return true;
  }
  return false;
}

TEST(ConformanceTrial, SeesEntriesThatDoNothing){
#define ORTHANT_BREAK_OP(op, Args)                                 \
  {                                                                \
    Backend broken = cpu_backend();                                \
    broken.op = [](const BackendCall*, const Args*) { return 0; }; \
    EXPECT_TRUE(finds_fault(broken, #op)) << #op;                  \
  }
    ORTHANT_OPS(ORTHANT_BREAK_OP)
#undef ORTHANT_BREAK_OP
}

TEST(ConformanceTrial, SeesSmallErrors) {
  Backend broken = cpu_backend();
  broken.scale = [](const BackendCall* call, const ScaleArgs* args) {
    ScaleArgs other = *args;
    other.factor *= 1.0001;
    return cpu_backend().scale(call, &other);
  };
  EXPECT_TRUE(finds_fault(broken, "scale"));
  EXPECT_FALSE(finds_fault(cpu_backend(), "scale"));
}

class BackendTable : public ::testing::TestWithParam<std::string> {
 protected:
  void SetUp() override {
    std::string why_not;
    backend_ = backend_under_test(GetParam(), why_not);
    if (!backend_) GTEST_SKIP() << why_not;
  }
  const Backend* backend_ = nullptr;
  char error_[256] = "";
  BackendCall call_{.stream = nullptr, .error = error_, .error_size = sizeof(error_)};
};

TEST_P(BackendTable, IsComplete) {
  EXPECT_EQ(backend_->version, kBackendVersion);
  EXPECT_TRUE(backend_->name && *backend_->name);
  EXPECT_TRUE(backend_->libraries && *backend_->libraries);
#define ORTHANT_EXPECT_OP(op, Args) EXPECT_NE(backend_->op, nullptr) << #op;
  ORTHANT_OPS(ORTHANT_EXPECT_OP)
#undef ORTHANT_EXPECT_OP
}

TEST_P(BackendTable, DescribesItsDevices) {
  int32_t count = 0;
  ASSERT_EQ(backend_->device_count(&call_, &count), 0) << error_;
  ASSERT_GE(count, 1);
  for (int32_t i = 0; i < count; ++i) {
    BackendDevice device;
    ASSERT_EQ(backend_->describe_device(&call_, i, &device), 0) << error_;
    EXPECT_GT(std::strlen(device.name), 0U);
    EXPECT_GE(device.memory_bytes, device.free_bytes);
  }
}

TEST_P(BackendTable, CopiesBothWaysAndWithin) {
  for (const int64_t size : {1, 255, 4096, 3000001}) {
    std::vector<char> from(static_cast<size_t>(size)), to(from.size(), 0);
    for (size_t i = 0; i < from.size(); ++i) from[i] = static_cast<char>(i * 31 + 7);
    void *first = nullptr, *second = nullptr;
    ASSERT_EQ(backend_->allocate(&call_, size, &first), 0) << error_;
    ASSERT_EQ(backend_->allocate(&call_, size, &second), 0) << error_;
    EXPECT_EQ(reinterpret_cast<uintptr_t>(first) % 64, 0U);
    ASSERT_EQ(backend_->copy(&call_, first, from.data(), size), 0) << error_;
    ASSERT_EQ(backend_->copy(&call_, second, first, size), 0) << error_;
    ASSERT_EQ(backend_->copy(&call_, to.data(), second, size), 0) << error_;
    EXPECT_TRUE(from == to) << size;
    EXPECT_EQ(backend_->deallocate(&call_, first), 0) << error_;
    EXPECT_EQ(backend_->deallocate(nullptr, second), 0);  // as the allocator calls it
  }
  EXPECT_EQ(backend_->synchronize(&call_), 0) << error_;
}

TEST_P(BackendTable, CopiesByWayOfItsHostMemory) {
  constexpr int64_t kSize = 3000001;
  void *host = nullptr, *device = nullptr;
  ASSERT_EQ(backend_->allocate_host(&call_, kSize, &host), 0) << error_;
  ASSERT_EQ(backend_->allocate(&call_, kSize, &device), 0) << error_;
  std::memset(host, 7, kSize);
  ASSERT_EQ(backend_->copy(&call_, device, host, kSize), 0) << error_;
  std::memset(host, 0, kSize);
  ASSERT_EQ(backend_->copy(&call_, host, device, kSize), 0) << error_;
  EXPECT_EQ(static_cast<char*>(host)[0], 7);
  EXPECT_EQ(static_cast<char*>(host)[kSize - 1], 7);
  EXPECT_EQ(backend_->deallocate(&call_, device), 0) << error_;
  EXPECT_EQ(backend_->deallocate_host(nullptr, host), 0);
}

// All that one rank can see of a backend's communication; tests/fake_device has the rest.
TEST_P(BackendTable, CommunicatesWithItselfAlone) {
  const BackendComm* comm = backend_->comm;
  if (!comm) GTEST_SKIP() << "no communication";
  BackendCommArgs args{.id = {}, .rank = 0, .size = 1, .name = "alone"};
  ASSERT_EQ(comm->make_id(&call_, &args.id), 0) << error_;
  void *self = nullptr, *ticket = nullptr, *first = nullptr, *second = nullptr;
  ASSERT_EQ(comm->create(&call_, &args, &self), 0) << error_;
  for (int32_t ready = 0; !ready;) ASSERT_EQ(comm->poll(&call_, self, &ready), 0) << error_;
  ASSERT_EQ(backend_->allocate(&call_, 1000, &first), 0) << error_;
  ASSERT_EQ(backend_->allocate(&call_, 1000, &second), 0) << error_;
  std::vector<char> from(1000, 5), to(1000, 0);
  ASSERT_EQ(backend_->copy(&call_, first, from.data(), 1000), 0) << error_;
  const ExchangeArgs own{.own_from = first, .own_to = second, .own_bytes = 1000};
  ASSERT_EQ(comm->exchange(&call_, self, &own, &ticket), 0) << error_;
  for (int32_t done = 0; !done;) ASSERT_EQ(comm->query(&call_, ticket, &done), 0) << error_;
  comm->release(ticket);
  ASSERT_EQ(backend_->copy(&call_, to.data(), second, 1000), 0) << error_;
  EXPECT_TRUE(from == to);
  EXPECT_EQ(comm->destroy(&call_, self), 0) << error_;
  backend_->deallocate(&call_, first);
  backend_->deallocate(&call_, second);
}

TEST_P(BackendTable, RefusesTypesThatItDoesNotComputeIn) {
  void* block = nullptr;
  ASSERT_EQ(backend_->allocate(&call_, 256, &block), 0) << error_;
  const View view{
      .data = block, .dtype = DType::kF8E4M3, .rank = 2, .shape = {2, 3}, .row_stride = 3};
  EXPECT_NE(backend_->add(&call_, std::initializer_list<BinaryArgs>{{view, view, view}}.begin()),
            0);
  EXPECT_GT(std::strlen(error_), 0U) << "no message";
  backend_->deallocate(&call_, block);
}

INSTANTIATE_TEST_SUITE_P(All, BackendTable, ::testing::ValuesIn(backends_under_test()),
                         [](const auto& info) { return info.param; });

}  // namespace
}  // namespace orthant::testing
