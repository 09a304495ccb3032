// SPDX-License-Identifier: Apache-2.0
// Training on a device: its tensors are the CPU's in disguise (fake_cuda.cpp), so every bit must be
// that of a run on the CPU, and reading one on the host, or mixing devices in an op, is an error.
#include <gtest/gtest.h>

#include <filesystem>

#include "base/context.h"
#include "checkpoint/reader.h"
#include "checkpoint/writer.h"
#include "parallel/comm/threads/run_ranks.h"
#include "parallel/comm/transport.h"
#include "tensor/plugin.h"
#include "tests/fake_device/fake_control.h"
#include "tests/layouts/lesson.h"
#include "trainer/device.h"
#include "trainer/pretrain_engine.h"
#include "trainer/throughput.h"
#include "trainer/training_state.h"

namespace orthant::testing {
namespace {

TEST(FakeDevice, IsFoundBesideTheProgram) {
  std::string why_not;
  const Backend* backend = try_cuda_backend(why_not);
  ASSERT_NE(backend, nullptr) << why_not;
  EXPECT_STREQ(backend->name, "fake");
  EXPECT_EQ(device_of("cuda").type, DeviceType::kCuda);
}

TEST(FakeDevice, ItsOwnProductsAreItsPeak) {
  for (const DType dtype : {DType::kBF16, DType::kF32}) {
    const double rate = measure_product_rate(dtype, device_of("cuda"));
    EXPECT_GT(rate, 1e8);
    EXPECT_LT(rate, 2 * measure_product_rate(dtype));  // it is the CPU
  }
}

TEST(FakeDevice, TrainsWithTheBitsOfTheCpu) {
  for (const Variant& variant : all_variants()) {
    Variant on_device = variant;
    on_device.config.device = "cuda";
    for (const int ranks : {1, 2}) {
      for (const char* precision : {"fp64", "bf16"}) {
        SCOPED_TRACE(concat(variant.name, ", ", ranks, " ranks, ", precision));
        const LayoutOptions options{.precision = precision, .steps = 2, .gradients = true};
        const EngineRun want = run_on_threads(variant, options, ranks);
        const EngineRun got = run_on_threads(on_device, options, ranks);
        EXPECT_EQ(first_bit_difference(bits_of(got), bits_of(want)), "");
      }
    }
  }
}

// Ranks whose devices talk to each other: gradients never pass through the host.
TEST(FakeDevice, TrainsOverTheDevicesOwnTransport) {
  for (const Variant& variant : all_variants()) {
    Variant on_device = variant;
    on_device.config.device = "cuda";
    for (const int ranks : {2, 4}) {
      if (variant.config.batch.global_batch_size / variant.config.batch.micro_batch_size % ranks)
        continue;
      SCOPED_TRACE(concat(variant.name, ", ", ranks, " ranks"));
      const LayoutOptions options{.precision = "bf16", .steps = 2, .gradients = true};
      const EngineRun want = run_on_threads(variant, options, ranks);
      fake_control().reset();
      fake_control().delay_seconds = 50e-6;
      std::vector<EngineRun> runs(static_cast<size_t>(ranks));
      run_ranks(ranks, [&](const Group& world) {
        runs[static_cast<size_t>(world.rank())] = run_engine(
            on_device, options, connect_devices(world, device_of("cuda"), DeviceTransport::kAuto));
      });
      for (const EngineRun& got : runs)
        EXPECT_EQ(first_bit_difference(bits_of(got), bits_of(want)), "");
      EXPECT_GT(fake_control().num_messages, 0);
    }
  }
}

TEST(FakeDevice, LearnsFromATeacherWithTheBitsOfTheCpu) {
  for (const int64_t top_k : {7, 0}) {
    for (const char* precision : {"fp64", "bf16"}) {
      for (const int tensor_ranks : {1, 2}) {
        SCOPED_TRACE(concat(top_k, " tokens, ", precision, ", ", tensor_ranks));
        Lesson lesson{.learner = "dense_gqa", .teacher = "moe"};
        lesson.section.top_k = top_k;
        lesson.section.temperature = 1.5;
        lesson.section.kl = KlKind::kMixed;
        const LayoutOptions options{.precision = precision, .tensor_parallel_size = tensor_ranks};
        const EngineRun want = run_lesson(lesson, options, tensor_ranks);
        lesson.device = "cuda";
        const EngineRun got = run_lesson(lesson, options, tensor_ranks);
        EXPECT_EQ(first_bit_difference(bits_of(got), bits_of(want)), "");
      }
    }
  }
}

TEST(FakeDevice, HearsOfTheWishForDeterminism) {
  RankContext rank;
  const ContextScope scope(rank);
  for (const char* determinism : {"none", "run", "none", "layout"}) {
    const Engine engine = pretrain_engine(
        plan_of(find_variant("moe"), {.determinism = determinism}, 1), Group::self());
    EXPECT_EQ(rank.any_order, std::string(determinism) == "none") << determinism;
  }
}

TEST(FakeDevice, RecomputesAndReplays) {
  for (const Variant& variant : all_variants()) {
    Variant on_device = variant;
    on_device.config.device = "cuda";
    LayoutOptions options{.steps = 1, .recompute = "full"};
    const EngineRun want = run_on_threads(variant, options, 1);
    options.replay = &want.choices;
    const EngineRun got = run_on_threads(on_device, options, 1);
    EXPECT_EQ(first_bit_difference(bits_of(got), bits_of(want)), "") << variant.name;
  }
}

TEST(FakeDevice, DecodesWithTheBitsOfTheCpu) {
  std::vector<std::vector<double>> logits;
  for (const char* device : {"cpu", "cuda"}) {
    Variant variant = find_variant("moe");
    variant.config.device = device;
    Engine engine = pretrain_engine(plan_of(variant, {.precision = "fp32"}, 1), Group::self());
    KvCache cache = engine.role().model().make_cache(1);
    for (const std::vector<int32_t>& ids : {std::vector<int32_t>{3, 1, 4}, {1}, {5, 9}}) {
      logits.push_back(engine.role().model().decode({ids}, cache).to_doubles());
    }
  }
  for (size_t i = 0; i < 3; ++i) EXPECT_EQ(logits[i], logits[i + 3]);
}

// A checkpoint of one device goes on on another.
TEST(FakeDevice, ExchangesCheckpointsWithTheCpu) {
  const std::string root = ::testing::TempDir() + "/fake_device_checkpoint";
  std::filesystem::remove_all(root);
  const Group self = Group::self();
  for (const char* from : {"cpu", "cuda"}) {
    Variant variant = find_variant("moe");
    const LayoutOptions options{.precision = "bf16"};
    variant.config.device = from;
    Engine saved = pretrain_engine(plan_of(variant, options, 1), self);
    saved.step(own_batches(variant, self, 1), 1);
    variant.config.device = std::string(from) == "cpu" ? "cuda" : "cpu";
    variant.config.run.seed += 1;  // other initial weights
    Engine loaded = pretrain_engine(plan_of(variant, options, 1), self);
    CheckpointWriter writer(self, concat(root, "/", from), {});
    writer.save(1, role_tensors(saved.role()), {});
    writer.finish();
    const std::optional<Manifest> manifest = find_newest_valid(self, concat(root, "/", from));
    ASSERT_TRUE(manifest.has_value());
    load_tensors(self, *manifest, role_tensors(loaded.role()), {});
    const auto want = role_tensors(saved.role()), got = role_tensors(loaded.role());
    ASSERT_EQ(got.size(), want.size());
    for (size_t i = 0; i < got.size(); ++i) {
      EXPECT_NE(got[i].data.device(), want[i].data.device());
      EXPECT_EQ(got[i].data.to_doubles(), want[i].data.to_doubles()) << got[i].name;
    }
  }
  std::filesystem::remove_all(root);
}

}  // namespace
}  // namespace orthant::testing
