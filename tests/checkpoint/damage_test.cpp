// SPDX-License-Identifier: Apache-2.0
// No damaged checkpoint is ever used.
#include <algorithm>
#include <random>

#include "base/log.h"
#include "checkpoint/reader.h"
#include "checkpoint/writer.h"
#include "parallel/comm/threads/run_ranks.h"
#include "tests/checkpoint/checkpoint_testing.h"

namespace orthant {
namespace {

using namespace testing;

const TensorSpec kWeight{"w.weight", {11, 9}, DType::kF32}, kBias{"w.bias", {5}, DType::kBF16};

std::vector<CheckpointTensor> tensors_of(const Group& world, uint64_t salt) {
  return {make_tensor(kWeight, part_of(kWeight.shape, 0, world.rank(), world.size()), salt),
          make_whole(kBias, salt)};
}

class Damage : public ::testing::Test {
 protected:
  void SetUp() override {
    run_ranks(2, [&](const Group& world) {
      CheckpointWriter writer(world, folder_.path(), {.run_id = "r"});
      for (const int64_t step : {10, 20}) {
        writer.save(step, tensors_of(world, static_cast<uint64_t>(step)), {});
        writer.finish();
      }
    });
  }
  static void save_again(const std::string& folder, int64_t step, const std::string& run) {
    CheckpointWriter writer(Group::self(), folder, {.run_id = run});
    writer.save(step, tensors_of(Group::self(), 1), {});
    writer.finish();
  }
  int64_t newest() const {
    const auto manifest = find_newest_valid(Group::self(), folder_.path());
    return manifest ? manifest->step : -1;
  }
  std::vector<std::string> files() const {
    std::vector<std::string> names;
    for (const auto& entry : std::filesystem::directory_iterator(folder_ / "step-00000020")) {
      names.push_back(entry.path());
    }
    std::sort(names.begin(), names.end());
    return names;
  }
  // Newest is damaged: by all ways of finding out.
  void expect_found(const std::string& what) {
    EXPECT_EQ(newest(), 10) << what;
    const CheckpointReport report = verify_checkpoint(folder_ / "step-00000020");
    EXPECT_FALSE(report.ok) << what;
    EXPECT_CONTAINS(report.text, "damaged: ");
    error_text(ErrorKind::kData, [&] {
      const Manifest manifest = read_manifest(folder_ / "step-00000020");
      const std::vector<CheckpointTensor> wanted = {blank(kWeight, whole_slice(kWeight.shape)),
                                                    blank(kBias, whole_slice(kBias.shape))};
      load_tensors(Group::self(), manifest, wanted);
    });
  }

  TemporaryFolder folder_;
};

// A checkpoint whose files are links into a store (deduplicated, or moved to a larger disk).
TEST_F(Damage, LinkedFilesAreReadAndCheckedLikeAnyOther) {
  const TemporaryFolder store;
  const std::vector<std::string> paths = files();
  for (const std::string& path : paths) {
    const std::string moved = store / std::filesystem::path(path).filename().string();
    std::filesystem::rename(path, moved);
    std::filesystem::create_symlink(moved, path);
  }
  EXPECT_EQ(newest(), 20);
  EXPECT_TRUE(verify_checkpoint(folder_ / "step-00000020").ok);
  std::filesystem::resize_file(store / std::filesystem::path(paths.back()).filename().string(), 40);
  expect_found("a linked shard that was cut short");
}

TEST_F(Damage, FindsEveryFlippedBit) {
  log::set_quiet(true);
  std::mt19937 random(1);
  const auto names = files();
  ASSERT_EQ(names.size(), 3u);
  std::vector<std::string> contents;
  size_t total = 0;
  for (const std::string& name : names) {
    contents.push_back(read_bytes(name));
    total += contents.back().size();
  }
  for (int i = 0; i < 250; ++i) {
    size_t at = random() % total, file = 0;
    while (at >= contents[file].size()) at -= contents[file++].size();
    std::string bad = contents[file];
    bad[at] = static_cast<char>(bad[at] ^ (1 << random() % 8));
    write_bytes(names[file], bad);
    expect_found(concat(names[file], " byte ", at));
    write_bytes(names[file], contents[file]);
    if (HasFailure()) return;
  }
  EXPECT_EQ(newest(), 20);
}

TEST_F(Damage, SliceChecksumsAloneFindFlippedData) {
  const std::string shard = folder_ / "step-00000020/shard-00000-of-00002.safetensors";
  std::string bytes = read_bytes(shard);
  bytes.back() = static_cast<char>(bytes.back() ^ 1);
  write_bytes(shard, bytes);
  const Manifest manifest = read_manifest(folder_ / "step-00000020");
  const std::vector<CheckpointTensor> wanted = {blank(kWeight, whole_slice(kWeight.shape)),
                                                blank(kBias, whole_slice(kBias.shape))};
  const std::string text = error_text(ErrorKind::kData, [&] {
    load_tensors(Group::self(), manifest, wanted, {.verify_files = false});
  });
  EXPECT_CONTAINS(text, "shard-00000-of-00002.safetensors: tensor w.");
  EXPECT_CONTAINS(text, "damaged");
}

TEST_F(Damage, FindsFilesOfAnotherLength) {
  for (const std::string& name : files()) {
    const std::string good = read_bytes(name);
    for (const std::string& bad :
         {std::string(), good.substr(0, 40), good.substr(0, good.size() - 1), good + '\0'}) {
      write_bytes(name, bad);
      expect_found(concat(name, " of ", bad.size(), " bytes"));
    }
    write_bytes(name, good);
  }
}

TEST_F(Damage, FindsMissingSwappedAndForeignFiles) {
  const std::string dir = folder_ / "step-00000020/";
  const std::string a = "shard-00000-of-00002.safetensors", b = "shard-00001-of-00002.safetensors";
  const std::string bytes_a = read_bytes(dir + a), bytes_b = read_bytes(dir + b);
  write_bytes(dir + a, bytes_b);
  write_bytes(dir + b, bytes_a);
  expect_found("swapped");
  write_bytes(dir + b, bytes_b);
  write_bytes(dir + a, read_bytes(folder_ / "step-00000010/" + a));
  expect_found("of another step");
  std::filesystem::remove(dir + a);
  EXPECT_EQ(newest(), 10);
  EXPECT_FALSE(verify_checkpoint(dir).ok);
  write_bytes(dir + a, bytes_a);
  write_bytes(dir + "stranger", "x");
  EXPECT_EQ(newest(), 20);
  EXPECT_CONTAINS(verify_checkpoint(dir).text, "note: stranger");
  // The whole directory of another step.
  std::filesystem::copy(folder_ / "step-00000010", folder_ / "step-00000030");
  EXPECT_EQ(newest(), 20);
}

TEST_F(Damage, TrustsNeitherLatestNorOtherVersions) {
  write_bytes(folder_ / "latest", "step-99999999\n");
  EXPECT_EQ(newest(), 20);
  const std::string path = folder_ / "step-00000020/manifest.json";
  std::string text = read_bytes(path);
  write_bytes(path, text.replace(text.find("\"version\": 1"), 12, "\"version\": 9"));
  EXPECT_CONTAINS(verify_checkpoint(folder_ / "step-00000020").text, "use a newer orthant");
  EXPECT_EQ(newest(), 10);
  std::filesystem::remove(path);
  EXPECT_EQ(newest(), 10);
  std::filesystem::remove_all(folder_ / "step-00000010");
  EXPECT_CONTAINS(error_text(ErrorKind::kData, [&] { newest(); }), "none of the 1 checkpoints");
  std::filesystem::remove_all(folder_ / "step-00000020");
  EXPECT_EQ(newest(), -1);
  EXPECT_FALSE(find_newest_valid(Group::self(), folder_ / "none").has_value());
}

}  // namespace
}  // namespace orthant
