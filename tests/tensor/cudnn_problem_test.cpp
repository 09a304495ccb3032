// SPDX-License-Identifier: Apache-2.0
// Which attention goes to cuDNN, what its plans are kept under, and the parts of a large call.
#include <gtest/gtest.h>

#include <functional>
#include <memory>
#include <stdexcept>
#include <string>
#include <thread>
#include <vector>

#include "tensor/cuda/cudnn/plan_cache.h"
#include "tensor/cuda/cudnn/problem.h"

namespace orthant::testing {
namespace {

using namespace cuda::cudnn;  // NOLINT

View view(int64_t rows, int64_t cols, int64_t row_stride, DType dtype = DType::kBF16) {
  return {reinterpret_cast<void*>(0x1000), dtype, 2, {rows, cols}, row_stride};
}

// Training of two sequences of 100 tokens: 4 query and 2 KV heads, 64 wide, columns of one product.
AttentionGradArgs training() {
  const View qkv = view(200, 256, 512), o = view(200, 256, 256);
  const View kv = view(200, 128, 512);
  const AttentionArgs forward{.q = qkv,
                              .k = kv,
                              .v = kv,
                              .o = o,
                              .lse = view(200, 4, 4, DType::kF32),
                              .doc_start = {},
                              .batch = 2,
                              .q_len = 100,
                              .q_stride = 100,
                              .kv_len = 100,
                              .kv_stride = 100,
                              .heads = 4,
                              .kv_heads = 2,
                              .qk_dim = 64,
                              .v_dim = 64,
                              .scale = 0.125};
  return {forward, o, qkv, kv, kv, 0};
}

TEST(CudnnRule, TakesTraining) {
  EXPECT_EQ(why_plain(training().forward), nullptr);
  EXPECT_EQ(why_plain(training()), nullptr);
  AttentionGradArgs packed = training();
  packed.forward.doc_start = view(1, 200, 200, DType::kI32);
  EXPECT_EQ(why_plain(packed), nullptr);
}

// What is changed, and a word of the reason.
struct Change {
  const char* reason;
  std::function<void(AttentionGradArgs&)> apply;
  bool forward = true;  // the forward call is refused as well
};

TEST(CudnnRule, LeavesTheRestToPlainKernels) {
  const auto shift = [](View& v, int64_t bytes) { v.data = static_cast<char*>(v.data) + bytes; };
  const std::vector<Change> changes = {
      {"bf16", [](auto& a) { a.forward.q.dtype = DType::kF32; }},
      {"bf16", [](auto& a) { a.forward.q.dtype = DType::kF64; }},
      {"no tokens", [](auto& a) { a.forward.batch = 0; }},
      {"no tokens", [](auto& a) { a.forward.q_len = a.forward.kv_len = 0; }},
      {"heads", [](auto& a) { a.forward.kv_heads = 3; }},
      {"heads", [](auto& a) { a.forward.kv_heads = 0; }},
      {"decoding", [](auto& a) { a.forward.q_offset = 1; }},
      {"chunk", [](auto& a) { a.forward.kv_offset = 1; }},
      {"chunk", [](auto& a) { a.forward.kv_len = 90; }},
      {"chunk", [](auto& a) { a.forward.accumulate = 1; }},
      {"gaps", [](auto& a) { a.forward.kv_stride = 101; }},
      {"gaps", [](auto& a) { a.forward.q_stride = 101; }},
      {"window", [](auto& a) { a.forward.window = 100; }},
      {"added", [](auto& a) { a.accumulate = 1; }, false},
      {"multiple of 8", [](auto& a) { a.forward.qk_dim = 60; }},
      {"multiple of 8", [](auto& a) { a.forward.v_dim = 63; }},
      {"16 bytes", [](auto& a) { a.forward.q.row_stride = 516; }},
      {"16 bytes", [](auto& a) { a.forward.o.row_stride = 257; }},
      {"16 bytes", [&](auto& a) { shift(a.forward.k, 8); }},
      {"16 bytes", [&](auto& a) { shift(a.forward.v, 2); }},
      {"16 bytes", [&](auto& a) { shift(a.do_, 8); }, false},
      {"16 bytes", [](auto& a) { a.dq.row_stride = 516; }, false},
      {"16 bytes", [](auto& a) { a.dk.row_stride = 516; }, false},
      {"16 bytes", [&](auto& a) { shift(a.dv, 2); }, false}};
  for (size_t i = 0; i < changes.size(); ++i) {
    AttentionGradArgs args = training();
    changes[i].apply(args);
    ASSERT_NE(why_plain(args), nullptr) << i;
    EXPECT_NE(std::string(why_plain(args)).find(changes[i].reason), std::string::npos) << i;
    EXPECT_EQ(why_plain(args.forward) != nullptr, changes[i].forward) << i;
  }
}

TEST(CudnnProblem, AMissingLseIsPacked) {
  AttentionArgs args = training().forward;
  args.lse = View{};
  EXPECT_EQ(problem_of(args).lse_stride, 4);
}

// Changes of a call that want another plan.
std::vector<std::function<void(AttentionGradArgs&)>> differences() {
  using Args = AttentionGradArgs;
  return {[](Args& a) { a.forward.batch = 3; },
          [](Args& a) { a.forward.q_len = a.forward.kv_stride = 50; },
          [](Args& a) { a.forward.heads = 8; },
          [](Args& a) { a.forward.kv_heads = 4; },
          [](Args& a) { a.forward.qk_dim = 128; },
          [](Args& a) { a.forward.v_dim = 32; },
          [](Args& a) { a.forward.doc_start = view(1, 200, 200, DType::kI32); },
          [](Args& a) { a.forward.q.row_stride = 520; },
          [](Args& a) { a.forward.k.row_stride = 520; },
          [](Args& a) { a.forward.v.row_stride = 520; },
          [](Args& a) { a.forward.o.row_stride = 520; },
          [](Args& a) { a.forward.lse.row_stride = 5; },
          [](Args& a) { a.do_.row_stride = 520; },
          [](Args& a) { a.dq.row_stride = 520; },
          [](Args& a) { a.dk.row_stride = 520; },
          [](Args& a) { a.dv.row_stride = 520; }};
}

TEST(CudnnPlanCache, KeepsAPlanForEachProblemAndDevice) {
  PlanCache<int> cache;
  int made = 0;
  const auto get = [&](int device, const AttentionProblem& problem) {
    return *cache.get(device, problem, [&] { return std::make_shared<const int>(made++); });
  };
  const AttentionGradArgs args = training();
  EXPECT_EQ(get(0, problem_of(args, false)), 0);
  EXPECT_EQ(get(1, problem_of(args, false)), 1);
  EXPECT_EQ(get(0, problem_of(args, true)), 2);
  EXPECT_EQ(get(0, problem_of(args.forward)), 3);
  for (const auto& change : differences()) {
    AttentionGradArgs other = training();
    change(other);
    const int before = made;
    EXPECT_EQ(get(0, problem_of(other, false)), before);
    EXPECT_EQ(get(0, problem_of(other, false)), before) << "made again";
  }
  EXPECT_EQ(get(0, problem_of(args, false)), 0);
  // Numbers are given with the call.
  AttentionGradArgs scaled = training();
  scaled.forward.scale = 7;
  EXPECT_EQ(get(0, problem_of(scaled, false)), 0);
}

TEST(CudnnPlanCache, RemembersARefusalAndNoFailure) {
  PlanCache<int> cache;
  int asked = 0;
  const auto refuse = [&]() -> std::shared_ptr<const int> { return ++asked, nullptr; };
  const auto fail = [&]() -> std::shared_ptr<const int> { throw std::runtime_error("no memory"); };
  EXPECT_THROW(cache.get(0, {}, fail), std::runtime_error);
  EXPECT_EQ(cache.get(0, {}, refuse), nullptr);
  EXPECT_EQ(cache.get(0, {}, refuse), nullptr);
  EXPECT_EQ(asked, 1);
}

TEST(CudnnPlanCache, ThreadsMakeOnePlan) {
  PlanCache<int> cache;
  int made = 0;
  std::vector<std::thread> threads;
  for (int i = 0; i < 4; ++i)
    threads.emplace_back([&] {
      for (int j = 0; j < 100; ++j)
        cache.get(0, {}, [&] { return std::make_shared<const int>(++made); });
    });
  for (std::thread& thread : threads) thread.join();
  EXPECT_EQ(made, 1);
}

TEST(CudnnPart, FitsTheWorkspaceAndDividesTheCall) {
  AttentionProblem p;
  p.backward = true;
  p.batch = 6;
  p.heads = 32;
  p.kv_heads = 8;
  p.qk_dim = p.v_dim = 128;
  for (p.length = 128; p.length <= 65536; p.length *= 2) {
    for (const bool any_order : {false, true}) {
      p.any_order = any_order;
      const Part part = part_of(p);
      // What cuDNN asks for: the matrix ds in a fixed order, dk and dv of every query head.
      const auto bytes = [&](int64_t batch, int64_t kv_heads) {
        const int64_t matrix = any_order ? 0 : 2 * p.length * p.length;
        return batch * kv_heads * 4 * (matrix + 2 * p.length * 256);
      };
      if (part.batch == 0) {
        EXPECT_GT(bytes(1, 1), kMaxWorkspaceBytes) << p.length;
        continue;
      }
      EXPECT_LE(bytes(part.batch, part.kv_heads), kMaxWorkspaceBytes) << p.length;
      EXPECT_EQ(p.batch % part.batch, 0);
      EXPECT_EQ(p.kv_heads % part.kv_heads, 0);
      EXPECT_TRUE(part.batch == 1 || part.kv_heads == p.kv_heads);
      const AttentionProblem of_part = problem_of(p, part);
      EXPECT_EQ(of_part.heads, 4 * part.kv_heads);
      EXPECT_EQ(of_part.batch, part.batch);
    }
  }
  p.length = 4096;
  p.any_order = false;
  EXPECT_EQ(part_of(p).kv_heads, 4);  // 1.06 GiB for all eight
  p.backward = false;
  EXPECT_EQ(part_of(p).kv_heads, 8);
  EXPECT_EQ(part_of(p).batch, 6);
}

}  // namespace
}  // namespace orthant::testing
