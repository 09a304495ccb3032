// SPDX-License-Identifier: Apache-2.0
#include "checkpoint/manifest.h"

#include <algorithm>

#include "checkpoint/directory.h"
#include "checkpoint/save_plan.h"
#include "tests/checkpoint/checkpoint_testing.h"

namespace orthant {
namespace {

using namespace testing;

const std::string kSum(32, 'a');

Manifest example() {
  return {.run_id = "run-1",
          .step = 100,
          .samples = 800,
          .world_size = 2,
          .layout = "dp 2",
          .configuration = "model:\n  name: \"tiny\"\n",
          .extra = {{"isa", "avx512"}, {"tokens", "51200"}},
          .files = {{"shard-0", 100, kSum}, {"shard-1", 80, kSum}},
          .tensors = {{"a.weight",
                       DType::kBF16,
                       {4, 6},
                       {{0, {{0, 0}, {4, 4}}, kSum},
                        {1, {{0, 4}, {4, 2}, 0, 5}, kSum},
                        {0, {{0, 4}, {4, 2}, 5, 3}, kSum}}},
                      {"b", DType::kF32, {}, {{1, {{}, {}}, kSum}}},
                      {"c", DType::kF32, {0}, {}}}};
}

// The text with its checksum made right again after a change.
std::string resigned(std::string text) {
  const size_t at = text.rfind("\"checksum\": \"") + 13;
  return text.substr(0, at) + xxh3_128_hex(text.data(), at) + "\"\n}\n";
}
std::string replaced(std::string text, const std::string& from, const std::string& to) {
  const size_t at = text.find(from);
  EXPECT_NE(at, std::string::npos) << from;
  return resigned(text.replace(at, from.size(), to));
}

TEST(Manifest, RoundTrips) {
  const std::string text = manifest_text(example());
  const Manifest parsed = parse_manifest(text, "m");
  EXPECT_EQ(manifest_text(parsed), text);
  EXPECT_EQ(parsed.samples, 800);
  EXPECT_EQ(parsed.extra.at("isa"), "avx512");
  EXPECT_EQ(parsed.configuration, example().configuration);
  EXPECT_EQ(parsed.bytes(), 180);
  ASSERT_NE(parsed.find("a.weight"), nullptr);
  EXPECT_EQ(parsed.find("a.weight")->slices[1].slice.text(), "[0:4, 4:6] elements 0:5");
  EXPECT_EQ(parsed.find("aa"), nullptr);
}

TEST(Manifest, FindsEveryFlippedBitAndEveryCut) {
  const std::string text = manifest_text(example());
  for (size_t i = 0; i < text.size(); ++i) {
    std::string bad = text;
    bad[i] = static_cast<char>(bad[i] ^ (1 << (i % 8)));
    EXPECT_THROW(parse_manifest(bad, "m"), Error) << "byte " << i;
    EXPECT_THROW(parse_manifest(text.substr(0, i), "m"), Error) << "cut at " << i;
  }
  EXPECT_THROW(parse_manifest(text + "\n", "m"), Error);
}

TEST(Manifest, RefusesWhatIsWrongUnderARightChecksum) {
  const std::string text = manifest_text(example());
  const std::vector<std::pair<std::string, std::string>> changes = {
      {"\"version\": 1", "\"version\": 2"},
      {"\"version\": 1", "\"version\": 0"},
      {"\"version\": 1", "\"version\": 1.5"},
      {"\"step\": 100", "\"step\": -1"},
      {"\"step\": 100", "\"steps\": 100"},
      {"\"step\": 100", "\"step\": 100,\n\"step\": 100"},
      {"\"shard-1\"", "\"shard-0\""},
      {"\"shard-1\"", "\"../shard\""},
      {"\"shard-1\"", "\"..\""},
      {"\"shard-1\"", "\"manifest.json\""},
      {"\"a.weight\"", "\"a/weight\""},
      {"\"a.weight\"", "\"b\""},
      {"\"a.weight\"", "\"z\""},
      {"bf16", "bf17"},
      {"\"elements\":[0,5]", "\"elements\":[0,4]"},
      {"\"elements\":[0,5]", "\"elements\":[0,6]"},
      {"\"elements\":[0,5]", "\"elements\":[5,0]"},
      {"\"elements\":[0,5]", "\"elements\":[0,5],\"x\":1"},
      {"\"shape\":[4,6]", "\"shape\":[4,7]"},
      {"\"shape\":[4,6]", "\"shape\":[4294967296,4294967296]"},
      {"\"file\":1", "\"file\":2"},
      {kSum, std::string(31, 'a')},
      {"\"extra\": {", "\"extra\": {\"n\": 1, "},
  };
  for (const auto& [from, to] : changes) {
    SCOPED_TRACE(from + " -> " + to);
    error_text(ErrorKind::kData, [&] { parse_manifest(replaced(text, from, to), "m"); });
  }
  EXPECT_CONTAINS(
      error_text(ErrorKind::kData,
                 [&] { parse_manifest(replaced(text, "\"version\": 1", "\"version\": 2"), "m"); }),
      "use a newer orthant");
  EXPECT_CONTAINS(
      error_text(
          ErrorKind::kData,
          [&] { parse_manifest(replaced(text, "\"elements\":[0,5]", "\"elements\":[0,4]"), "m"); }),
      "tensor a.weight: the slices hold 23 of 24 elements");
}

TEST(Manifest, NamesSlicesForOtherTools) {
  EXPECT_EQ(slice_key("w", {4, 8}, whole_slice({4, 8})), "w");
  EXPECT_EQ(slice_key("w", {4, 8}, {{0, 4}, {4, 4}}), "w[0:4,4:8]");
  EXPECT_EQ(slice_key("w", {4, 8}, {{0, 4}, {4, 4}, 12, 4}), "w[0:4,4:8]{12:16}");
  EXPECT_EQ(slice_entry_shape({{0, 4}, {4, 4}, 12, 4}), (Shape{4}));
}

TEST(Directory, OrdersStepsByNumberAndKnowsItsNames) {
  const TemporaryFolder folder;
  for (const char* name : {"step-00000100", "step-99999999", "step-100000000", "step-3", "latest",
                           "step-00000005x", "tmp-step-00000200-ab"}) {
    std::filesystem::create_directory(folder / name);
  }
  EXPECT_EQ(list_steps(folder.path()), (std::vector<int64_t>{100, 99999999, 100000000}));
  EXPECT_EQ(list_steps(folder / "none"), std::vector<int64_t>{});
  EXPECT_EQ(shard_name(3, 16), "shard-00003-of-00016.safetensors");
  EXPECT_TRUE(is_temporary_name(temporary_name(7, "ab")));
  EXPECT_FALSE(is_temporary_name("tmp-of-mine"));
}

TEST(SavePlan, GivesEachSliceOneOwnerEvenlyByBytes) {
  std::vector<CheckpointTensor> held;  // by all four ranks
  for (int i = 0; i < 40; ++i) {
    held.push_back(make_whole({concat("t", i), Shape{1 + i % 7, 8}, DType::kF32}, 1));
  }
  std::vector<std::string> tables(4, slice_table_text(held));
  const TensorSpec local{"local", {4, 100}, DType::kF32};
  for (int64_t r = 0; r < 4; ++r) {  // rank 2 has most of this one
    const TensorSlice part = part_of(local.shape, 0, r, 4);
    tables[static_cast<size_t>(r)] += slice_table_text(std::vector{make_tensor(local, part, 1)});
  }
  const std::vector<ManifestTensor> plan = make_save_plan(tables);
  ASSERT_EQ(plan.size(), 41u);
  std::vector<int64_t> load(4, 0);
  for (const ManifestTensor& tensor : plan) {
    EXPECT_EQ(tensor.slices.size(), tensor.name == "local" ? 4u : 1u);
    for (const ManifestSlice& slice : tensor.slices) {
      load[static_cast<size_t>(slice.file)] += slice.slice.numel();
    }
  }
  EXPECT_LE(*std::max_element(load.begin(), load.end()),
            *std::min_element(load.begin(), load.end()) + 56);
}

TEST(SavePlan, RefusesDisagreementAndHoles) {
  const TensorSpec spec{"w", {4, 4}, DType::kF32};
  const auto table = [](const CheckpointTensor& tensor) {
    return slice_table_text(std::vector{tensor});
  };
  const std::string whole = table(make_whole(spec, 1));
  const auto plan = [](std::vector<std::string> tables) { make_save_plan(tables); };
  EXPECT_CONTAINS(error_text(ErrorKind::kInternal,
                             [&] {
                               plan({whole, table(make_whole({"w", {4, 4}, DType::kF64}, 1))});
                             }),
                  "rank 0 has f32 [4, 4], rank 1 has f64 [4, 4]");
  EXPECT_CONTAINS(error_text(ErrorKind::kInternal,
                             [&] {
                               plan({whole, table(make_tensor(spec, part_of({4, 4}, 0, 1, 2), 1))});
                             }),
                  "overlap");
  EXPECT_CONTAINS(error_text(ErrorKind::kInternal,
                             [&] {
                               plan({table(make_tensor(spec, part_of({4, 4}, 0, 1, 2), 1))});
                             }),
                  "8 of 16");
  error_text(ErrorKind::kInternal, [&] { table(make_whole({"a b", {4}, DType::kF32}, 1)); });
  CheckpointTensor short_data = make_whole(spec, 1);
  short_data.data = short_data.data.flat(0, 15);
  error_text(ErrorKind::kInternal, [&] { table(short_data); });
}

}  // namespace
}  // namespace orthant
