// SPDX-License-Identifier: Apache-2.0
#include <algorithm>
#include <atomic>
#include <chrono>
#include <thread>

#include "base/context.h"
#include "checkpoint/reader.h"
#include "checkpoint/writer.h"
#include "parallel/comm/threads/run_ranks.h"
#include "tests/checkpoint/checkpoint_testing.h"

namespace orthant {
namespace {

using namespace testing;

const std::vector<TensorSpec> kSpecs = {{"embed.weight", {13, 6}, DType::kBF16},
                                        {"norm.weight", {7}, DType::kF32},
                                        {"experts.0.up", {9, 5}, DType::kF64},
                                        {"experts.1.up", {9, 5}, DType::kF64},
                                        {"scalar", {}, DType::kF64},
                                        {"ids", {3, 2, 5}, DType::kI64},
                                        {"nothing", {0, 4}, DType::kF32},
                                        {"narrow", {2, 2}, DType::kF32}};  // fewer than ranks

// How rank r of n holds a tensor in one of several layouts.
TensorSlice slice_in(int layout, const TensorSpec& spec, int64_t r, int64_t n) {
  const TensorSlice whole = whole_slice(spec.shape);
  if (layout == 0 || spec.shape.rank() == 0) return whole;                   // replicas
  if (layout == 1) return part_of(spec.shape, 0, r, n);                      // rows
  if (layout == 2) return part_of(spec.shape, spec.shape.rank() - 1, r, n);  // columns
  if (layout == 3) return flat_part(whole, r, n);                            // ZeRO
  // Columns in two halves, each cut into flat ranges.
  const int64_t half = n > 1 ? r % 2 : 0, halves = n > 1 ? 2 : 1;
  return flat_part(part_of(spec.shape, spec.shape.rank() - 1, half, halves), r / halves,
                   (n - half + halves - 1) / halves);
}
constexpr int kLayouts = 5;

std::vector<CheckpointTensor> held_by(int layout, const Group& world, uint64_t salt) {
  std::vector<CheckpointTensor> tensors;
  for (const TensorSpec& spec : kSpecs) {
    tensors.push_back(make_tensor(spec, slice_in(layout, spec, world.rank(), world.size()), salt));
  }
  return tensors;
}
std::vector<CheckpointTensor> blanks(int layout, const Group& world) {
  std::vector<CheckpointTensor> tensors;
  for (const TensorSpec& spec : kSpecs) {
    tensors.push_back(blank(spec, slice_in(layout, spec, world.rank(), world.size())));
  }
  return tensors;
}

TEST(Checkpoint, LoadsInEveryLayoutWhatAnyLayoutSaved) {
  for (int from = 0; from < kLayouts; ++from) {
    const TemporaryFolder folder;
    run_ranks(from == 0 ? 1 : 3, [&](const Group& world) {
      CheckpointWriter writer(world, folder.path(), {.run_id = "r", .asynchronous = from % 2 == 0});
      writer.save(10, held_by(from, world, 5),
                  {.samples = 80, .layout = "l", .configuration = "c: 1\n", .extra = {{"a", "b"}}});
      EXPECT_TRUE(writer.finish());
      EXPECT_EQ(writer.last_step(), 10);
    });
    for (int to = 0; to < kLayouts; ++to) {
      run_ranks(1 + to % 4, [&](const Group& world) {
        const auto manifest = find_newest_valid(world, folder.path());
        ASSERT_TRUE(manifest.has_value());
        EXPECT_EQ(manifest->samples, 80);
        EXPECT_EQ(manifest->configuration, "c: 1\n");
        const std::vector<CheckpointTensor> wanted = blanks(to, world);
        load_tensors(world, *manifest, wanted);
        for (const CheckpointTensor& tensor : wanted) {
          EXPECT_TRUE(holds_pattern(tensor, 5)) << tensor.name << " " << from << " -> " << to;
        }
      });
    }
    EXPECT_TRUE(verify_checkpoint(folder / "step-00000010").ok);
  }
}

TEST(Checkpoint, WritesReplicasOnceAndSpreadsThem) {
  const TemporaryFolder folder;
  run_ranks(4, [&](const Group& world) {
    CheckpointWriter writer(world, folder.path(), {});
    std::vector<CheckpointTensor> tensors;
    for (int i = 0; i < 16; ++i) {
      tensors.push_back(make_whole({concat("t", i), {100}, DType::kF32}, 1));
    }
    writer.save(1, tensors, {});
    EXPECT_TRUE(writer.finish());
  });
  const Manifest manifest = read_manifest(folder / "step-00000001");
  std::vector<int> count(4, 0);
  for (const ManifestTensor& tensor : manifest.tensors) {
    ASSERT_EQ(tensor.slices.size(), 1u);
    ++count[static_cast<size_t>(tensor.slices[0].file)];
  }
  EXPECT_EQ(count, (std::vector<int>{4, 4, 4, 4}));
}

TEST(Checkpoint, TakesItsCopyBeforeSaveReturns) {
  const TemporaryFolder folder;
  run_ranks(2, [&](const Group& world) {
    context().failpoint = "checkpoint.before_write:sleep=60";
    CheckpointWriter writer(world, folder.path(), {});
    const auto tensors = held_by(1, world, 5);
    writer.save(1, tensors, {});
    EXPECT_LT(writer.stall_seconds(), 0.05);
    EXPECT_TRUE(writer.pending());
    for (const CheckpointTensor& tensor : tensors) {  // the next step goes on
      if (tensor.data.numel() > 0) {
        std::memset(tensor.data.data(), 0x55, static_cast<size_t>(tensor.data.bytes()));
      }
    }
    int polls = 0;
    while (writer.pending()) {
      writer.poll();
      ++polls;
    }
    EXPECT_GT(polls, 2);
    const auto wanted = blanks(2, world);
    load_tensors(world, *find_newest_valid(world, folder.path()), wanted);
    for (const CheckpointTensor& tensor : wanted) EXPECT_TRUE(holds_pattern(tensor, 5));
  });
}

TEST(Checkpoint, KeepsTheNewestByNumberAndRemovesLeftovers) {
  const TemporaryFolder folder;
  std::filesystem::create_directory(folder / "tmp-step-00000001-dead");
  std::filesystem::create_directory(folder / "notes");
  run_ranks(2, [&](const Group& world) {
    CheckpointWriter writer(world, folder.path(), {.keep = 3});
    for (const int64_t step : {9, 10, 99, 100, 1000}) writer.save(step, held_by(1, world, 5), {});
    EXPECT_TRUE(writer.finish());
  });
  std::vector<std::string> names;
  for (const auto& entry : std::filesystem::directory_iterator(folder.path())) {
    names.push_back(entry.path().filename());
  }
  std::sort(names.begin(), names.end());
  EXPECT_EQ(names, (std::vector<std::string>{"latest", "notes", "step-00000099", "step-00000100",
                                             "step-00001000"}));
  EXPECT_EQ(read_bytes(folder / "latest"), "step-00001000\n");
  EXPECT_CONTAINS(error_text(ErrorKind::kConfig,
                             [&] { CheckpointWriter(Group::self(), folder.path(), {.keep = 1}); }),
                  "at least 2");
}

TEST(Checkpoint, DamagedOnesDoNotCountAsKept) {
  const TemporaryFolder folder;
  run_ranks(1, [&](const Group& world) {
    CheckpointWriter writer(world, folder.path(), {});
    for (const int64_t step : {1, 2}) writer.save(step, held_by(1, world, 5), {});
    writer.finish();
    write_bytes(folder / "step-00000002/manifest.json", "{}");
    writer.save(3, held_by(1, world, 5), {});
    EXPECT_TRUE(writer.finish());
  });
  EXPECT_TRUE(verify_checkpoint(folder / "step-00000001").ok);
  EXPECT_TRUE(verify_checkpoint(folder / "step-00000003").ok);
}

TEST(Checkpoint, SavesAStepAgainOverADamagedOne) {
  const TemporaryFolder folder;
  run_ranks(2, [&](const Group& world) {
    CheckpointWriter writer(world, folder.path(), {});
    writer.save(7, held_by(1, world, 5), {});
    writer.finish();
    if (world.rank() == 0) write_bytes(folder / "step-00000007/manifest.json", "{}");
    world.barrier();
    writer.save(7, held_by(1, world, 6), {});
    EXPECT_TRUE(writer.finish());
    const auto wanted = blanks(0, world);
    load_tensors(world, *find_newest_valid(world, folder.path()), wanted);
    for (const CheckpointTensor& tensor : wanted) EXPECT_TRUE(holds_pattern(tensor, 6));
  });
  EXPECT_EQ(std::distance(std::filesystem::directory_iterator(folder.path()), {}), 2);
}

TEST(Checkpoint, LoadSaysWhatDoesNotFit) {
  const TemporaryFolder folder;
  run_ranks(2, [&](const Group& world) {
    CheckpointWriter writer(world, folder.path(), {});
    writer.save(1, held_by(1, world, 5), {});
    writer.finish();
    const Manifest manifest = *find_newest_valid(world, folder.path());
    const auto load = [&](std::vector<CheckpointTensor> wanted, const LoadOptions& options = {}) {
      return error_text(ErrorKind::kData, [&] { load_tensors(world, manifest, wanted, options); });
    };
    auto wanted = blanks(1, world);
    auto more = wanted;
    if (world.rank() == 1) more.push_back(blank({"other", {2}, DType::kF32}, whole_slice({2})));
    std::string text = load(more);
    EXPECT_CONTAINS(text, "rank 1: ");
    EXPECT_CONTAINS(text, "tensor other is missing");

    auto retyped = wanted;
    retyped[1] = blank({"norm.weight", {7}, DType::kF64}, whole_slice({7}));
    EXPECT_CONTAINS(load(retyped), "want f64 [7], the checkpoint has f32 [7]");
    auto reshaped = wanted;
    reshaped[1] = blank({"norm.weight", {8}, DType::kF32}, whole_slice({8}));
    EXPECT_CONTAINS(load(reshaped), "norm.weight");

    auto fewer = wanted;
    fewer.erase(fewer.begin() + 2);
    EXPECT_CONTAINS(load(fewer), "experts.0.up");
    load_tensors(world, manifest, fewer, {.unused_prefixes = {"experts.0."}});
    // What another rank wants is wanted.
    load_tensors(world, manifest, world.rank() == 0 ? wanted : std::vector<CheckpointTensor>{});
  });
}

TEST(Checkpoint, HolesAndDisagreementFailOnAllRanks) {
  const TemporaryFolder folder;
  std::atomic<int> reached{0};
  run_ranks(3, [&](const Group& world) {
    CheckpointWriter writer(world, folder.path(), {});
    auto tensors = held_by(1, world, 5);
    if (world.rank() == 2) tensors.erase(tensors.begin());
    error_text(ErrorKind::kInternal, [&] { writer.save(1, tensors, {}); });
    EXPECT_FALSE(writer.pending());
    error_text(ErrorKind::kInternal, [&] { writer.save(1 + world.rank(), tensors, {}); });
    ++reached;
  });
  EXPECT_EQ(reached, 3);
}

TEST(Checkpoint, TellsWhichRanksDidNotVoteInTime) {
  const TemporaryFolder folder;
  run_ranks(3, [&](const Group& world) {
    if (world.rank() == 1) context().failpoint = "checkpoint.before_write:sleep=200";
    CheckpointWriter writer(world, folder.path(), {.timeout_seconds = 0.05});
    writer.save(1, held_by(1, world, 5), {});
    EXPECT_CONTAINS(error_text(ErrorKind::kCannotWrite, [&] { writer.finish(); }), "from ranks 1,");
  });
  std::this_thread::sleep_for(std::chrono::milliseconds(250));  // the thread that was let go
}

}  // namespace
}  // namespace orthant
