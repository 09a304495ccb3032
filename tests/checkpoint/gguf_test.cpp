// SPDX-License-Identifier: Apache-2.0
// GGUF files: numbers are those of the reference implementation, and what breaks the rules is said
// by file and key or tensor.
#include "checkpoint/gguf.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstring>
#include <filesystem>
#include <fstream>
#include <functional>

#include "base/error.h"
#include "tests/testing/gguf_writer.h"

namespace orthant::testing {
namespace {

using ::testing::HasSubstr;

constexpr const char* kBlocks = ORTHANT_SOURCE_DIR "/tests/golden/gguf/blocks.gguf";

std::string put(const std::string& bytes) {
  const std::string path = ::testing::TempDir() + "orthant_gguf_" +
                           ::testing::UnitTest::GetInstance()->current_test_info()->name();
  std::ofstream(path, std::ios::binary) << bytes;
  return path;
}

std::string read(const GgufReader& file, const GgufTensor& tensor, int64_t first, int64_t count) {
  std::string bytes(static_cast<size_t>(count * size_of(tensor.format->dtype)), '\0');
  file.read(tensor, first, count, bytes.data());
  return bytes;
}

TEST(Gguf, BlocksAreThoseOfTheReferenceToTheBit) {
  const GgufReader file(kBlocks);
  for (const char* type : {"Q8_0", "Q4_0", "Q4_1", "Q4_K", "Q6_K"}) {
    const GgufTensor* got = file.find(concat("got.", type));
    const GgufTensor* want = file.find(concat("want.", type));
    ASSERT_TRUE(got && want) << type;
    EXPECT_STREQ(got->format->name, type);
    EXPECT_EQ(got->shape, Shape({3, 512}));
    const std::string bytes = read(file, *got, 0, 1536);
    EXPECT_TRUE(bytes == read(file, *want, 0, 1536)) << type;
    EXPECT_TRUE(bytes.substr(4 * 512) == read(file, *got, 512, 1024)) << type;  // from row 1 on
  }
}

TEST(Gguf, PlainTypesStayAsTheyAre) {
  const GgufReader file(kBlocks);
  for (const auto& [type, dtype] : {std::pair{"F16", DType::kF16}, {"BF16", DType::kBF16}}) {
    const GgufTensor* got = file.find(concat("got.", type));
    EXPECT_EQ(got->format->dtype, dtype);
  }
  // bfloat16 is the upper half of a float.
  const std::string narrow = read(file, *file.find("got.BF16"), 0, 1536),
                    wide = read(file, *file.find("want.BF16"), 0, 1536);
  for (size_t i = 0; i < 1536; ++i)
    ASSERT_EQ(narrow.substr(2 * i, 2), wide.substr(4 * i + 2, 2)) << i;
}

TEST(Gguf, MetadataOfEveryType) {
  const GgufReader file(kBlocks);
  for (const auto& [key, want] : {std::pair<const char*, int64_t>{"a.u8", 200},
                                  {"a.i8", -3},
                                  {"a.u16", 60000},
                                  {"a.i16", -30000},
                                  {"a.u32", 4'000'000'000},
                                  {"a.i32", -5},
                                  {"a.u64", int64_t{1} << 40},
                                  {"a.i64", -(int64_t{1} << 40)}})
    EXPECT_EQ(*file.value<int64_t>(key), want) << key;
  EXPECT_EQ(*file.value<double>("a.f32"), 1e-5);  // not 9.99999975e-06
  EXPECT_EQ(*file.value<double>("a.f64"), 0.1);
  EXPECT_TRUE(*file.value<bool>("a.bool"));
  EXPECT_EQ(*file.value<std::string>("a.text"), "caf\xC3\xA9");
  EXPECT_EQ(*file.value<std::vector<std::string>>("a.texts"),
            (std::vector<std::string>{"one", "", "three"}));
  EXPECT_EQ(*file.value<std::vector<int64_t>>("a.ints"), (std::vector<int64_t>{1, -2, 3}));
  EXPECT_EQ(*file.value<std::vector<double>>("a.reals"), (std::vector<double>{0.5, -1.5}));
  EXPECT_EQ(file.value<int64_t>("a.none"), nullptr);
  try {
    file.value<int64_t>("a.text");
    ADD_FAILURE() << "a text is no number";
  } catch (const Error& error) {
    EXPECT_THAT(error.what(), HasSubstr("metadata a.text: want a whole number, got a text"));
  }
}

GgufFile good() {
  GgufFile file;
  file.set("general.architecture", gguf_string("llama"));
  file.set("a.list", gguf_numbers<uint32_t>(4, {1, 2, 3}));
  file.add("first", {2, 3}, 0, std::string(24, 'a'));
  file.add("second", {2, 64}, 8, std::string(4 * 34, 'b'));
  return file;
}

struct Fault {
  const char* what;
  std::vector<std::string> words;
  std::function<void(GgufFile&)> spoil;
};

const std::vector<Fault>& faults() {
  static const std::vector<Fault> all = {
      {"other magic", {"does not begin with 'GGUF'"}, [](GgufFile& f) { f.magic = "GGML"; }},
      {"version 1",
       {"want GGUF of version 2 or 3, got version 1"},
       [](GgufFile& f) { f.version = 1; }},
      {"version 4", {"got version 4"}, [](GgufFile& f) { f.version = 4; }},
      {"big-endian", {"big-endian"}, [](GgufFile& f) { f.version = 3U << 24; }},
      {"exabytes of tensors",
       {"number of tensors: 4611686018427387904 of at least 32 bytes"},
       [](GgufFile& f) { f.num_tensors = uint64_t{1} << 62; }},
      {"exabytes of keys",
       {"number of metadata keys", "are left"},
       [](GgufFile& f) { f.num_keys = UINT64_MAX; }},
      {"one key too many", {"are left"}, [](GgufFile& f) { f.num_keys = 3; }},
      {"one tensor too many", {"tensor"}, [](GgufFile& f) { f.num_tensors = 3; }},
      {"a key twice",
       {"metadata key a.list is there twice"},
       [](GgufFile& f) { f.metadata.push_back(f.metadata.back()); }},
      {"a tensor twice",
       {"tensor first is there twice"},
       [](GgufFile& f) { f.tensors[1].name = "first"; }},
      {"a key of exabytes",
       {"metadata key 2"},
       [](GgufFile& f) {
         f.num_keys = 3;
         f.tensors.clear();
         f.behind = raw<uint64_t>(uint64_t{1} << 63) + std::string(64, 'x');
         f.alignment = 1;
       }},
      {"a text of exabytes",
       {"metadata a.text", "are left"},
       [](GgufFile& f) { f.set("a.text", raw<uint32_t>(8) + raw<uint64_t>(UINT64_MAX - 7)); }},
      {"a list of exabytes",
       {"metadata a.list", "are left"},
       [](GgufFile& f) {
         f.set("a.list", raw<uint32_t>(9) + raw<uint32_t>(0) + raw<uint64_t>(uint64_t{1} << 61));
       }},
      {"a list of more texts than fit",
       {"metadata a.list", "of at least 8 bytes"},
       [](GgufFile& f) {
         f.set("a.list", raw<uint32_t>(9) + raw<uint32_t>(8) + raw<uint64_t>(60));
       }},
      {"a list of lists",
       {"metadata a.list: is a list of lists"},
       [](GgufFile& f) { f.set("a.list", gguf_list(9, {})); }},
      {"a type of value nobody knows",
       {"metadata a.list: want a type of value below 13, got 77"},
       [](GgufFile& f) { f.set("a.list", raw<uint32_t>(77)); }},
      {"a truth value of 2",
       {"metadata a.list: want 0 or 1, got 2"},
       [](GgufFile& f) { f.set("a.list", raw<uint32_t>(7) + raw<uint8_t>(2)); }},
      {"a number beyond 2^63",
       {"metadata a.list: want below 2^63, got 18446744073709551615"},
       [](GgufFile& f) { f.set("a.list", raw<uint32_t>(10) + raw<uint64_t>(UINT64_MAX)); }},
      {"a text that is no UTF-8",
       {"metadata a.list: want UTF-8"},
       [](GgufFile& f) { f.set("a.list", gguf_string("\xFF\xFE")); }},
      {"a name that is no UTF-8",
       {"name of tensor 0: want UTF-8"},
       [](GgufFile& f) { f.tensors[0].name = "\xC3("; }},
      {"a type that is not read",
       {"tensor first: want a type of F32, F16,", "got Q5_K (13)"},
       [](GgufFile& f) { f.tensors[0].type = 13; }},
      {"a type that is not there",
       {"tensor first", "got 4711"},
       [](GgufFile& f) { f.tensors[0].type = 4711; }},
      {"no dimension",
       {"tensor first: want 1 to 4 dimensions, got 0"},
       [](GgufFile& f) { f.tensors[0].dims = {}; }},
      {"many dimensions",
       {"tensor first: want 1 to 4 dimensions, got 9"},
       [](GgufFile& f) { f.tensors[0].dims.assign(9, 1); }},
      {"a dimension of 0",
       {"tensor first: want dimensions of at least 1"},
       [](GgufFile& f) {
         f.tensors[0].dims = {0, 6};
       }},
      {"more elements than there are numbers",
       {"tensor first: want dimensions", "2^63"},
       [](GgufFile& f) {
         f.tensors[0].dims = {uint64_t{1} << 32, uint64_t{1} << 31};
       }},
      {"more bytes than there are numbers",
       {"tensor first", "too many bytes"},
       [](GgufFile& f) {
         f.tensors[0].dims = {uint64_t{1} << 31, uint64_t{1} << 31};
       }},
      {"half a block in a row",
       {"tensor second: Q8_0 wants rows of whole blocks of 32", "[2, 48]"},
       [](GgufFile& f) {
         f.tensors[1].dims = {48, 2};
       }},
      {"tensors that overlap",
       {"tensor second: starts at byte 0 of the data, want 32"},
       [](GgufFile& f) { f.tensors[1].offset = 0; }},
      {"a tensor that is not aligned",
       {"tensor second: starts at byte 24 of the data, want 32"},
       [](GgufFile& f) { f.tensors[1].offset = 24; }},
      {"a gap",
       {"tensor second: starts at byte 64 of the data, want 32 (a gap)"},
       [](GgufFile& f) { f.tensors[1].offset = 64; }},
      {"a tensor beyond any file",
       {"tensor second", "beyond any file"},
       [](GgufFile& f) { f.tensors[1].offset = (uint64_t{1} << 63) - 32; }},
      {"a larger tensor than the file",
       {"tensor second: ends at byte", "but the file has"},
       [](GgufFile& f) {
         f.tensors[1].dims = {64, 3};
       }},
      {"bytes behind the last tensor",
       {"describes 168 bytes of data, the file has 200"},
       [](GgufFile& f) { f.behind = std::string(32, 'x'); }},
      {"an alignment of 0",
       {"general.alignment: want a multiple of 8", "got 0"},
       [](GgufFile& f) { f.set("general.alignment", gguf_u32(0)); }},
      {"an alignment of 12",
       {"got 12"},
       [](GgufFile& f) { f.set("general.alignment", gguf_u32(12)); }},
      {"an alignment that is a text",
       {"general.alignment: want a whole number, got a text"},
       [](GgufFile& f) { f.set("general.alignment", gguf_string("32")); }},
  };
  return all;
}

std::string refusal(const std::string& bytes) {
  const std::string path = put(bytes);
  try {
    const GgufReader file(path);
  } catch (const Error& error) {
    EXPECT_EQ(error.kind(), ErrorKind::kData) << error.what();
    EXPECT_THAT(error.what(), HasSubstr(path));
    return error.what();
  }
  return "";
}

TEST(Gguf, WhatBreaksTheRulesIsSaidByKeyAndTensor) {
  EXPECT_EQ(refusal(good().bytes()), "");
  for (const Fault& fault : faults()) {
    SCOPED_TRACE(fault.what);
    GgufFile file = good();
    fault.spoil(file);
    const std::string text = refusal(file.bytes());
    for (const std::string& word : fault.words) EXPECT_THAT(text, HasSubstr(word));
  }
}

TEST(Gguf, AFileThatIsCutOffAnywhereIsRefused) {
  const std::string bytes = good().bytes();
  for (size_t size = 0; size < bytes.size(); ++size)
    EXPECT_NE(refusal(bytes.substr(0, size)), "") << size;
}

// Any byte that is another one ends in a reader or in one Error.
TEST(Gguf, AnyByteMayBeAnother) {
  const std::string bytes = good().bytes();
  const size_t header = good().header().size();
  for (size_t at = 0; at < header; ++at)
    for (const int flip : {1, 0x80, 0xFF}) {
      std::string broken = bytes;
      broken[at] = static_cast<char>(broken[at] ^ flip);
      refusal(broken);
    }
}

TEST(Gguf, OtherAlignmentsAndVersion2) {
  GgufFile file = good();
  file.version = 2;
  file.alignment = 64;
  file.set("general.alignment", gguf_u32(64));
  const GgufReader reader(put(file.bytes()));
  EXPECT_EQ(read(reader, *reader.find("first"), 2, 4), std::string(16, 'a'));
}

}  // namespace
}  // namespace orthant::testing
