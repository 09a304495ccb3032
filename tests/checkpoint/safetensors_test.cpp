// SPDX-License-Identifier: Apache-2.0
#include "checkpoint/safetensors.h"

#include "tests/checkpoint/checkpoint_testing.h"

namespace orthant {
namespace {

using namespace testing;

std::string with_length(uint64_t length, const std::string& rest) {
  std::string bytes;
  for (int i = 0; i < 8; ++i) bytes.push_back(static_cast<char>(length >> (8 * i) & 0xFF));
  return bytes + rest;
}
std::string file_of(const std::string& header, size_t data_bytes) {
  return with_length(header.size(), header + std::string(data_bytes, 'x'));
}

TEST(Safetensors, WritesWhatTheFormatAsksFor) {
  const TemporaryFolder folder;
  const std::vector<double> values = {1, 2, 3};
  write_safetensors(folder / "a", {{"w", Tensor::from({3}, values, DType::kF32)}}, {{"k", "v"}});
  const std::string bytes = read_bytes(folder / "a");
  const std::string header =
      R"({"__metadata__":{"k":"v"},"w":{"data_offsets":[0,12],"dtype":"F32","shape":[3]}})";
  const size_t padded = (header.size() + 7) / 8 * 8;
  ASSERT_EQ(bytes.size(), 8 + padded + 12);
  EXPECT_EQ(bytes.substr(0, 8 + padded),
            with_length(padded, header + std::string(padded - header.size(), ' ')));
  EXPECT_EQ(std::memcmp(bytes.data() + 8 + padded, "\0\0\x80\x3f\0\0\0\x40\0\0\x40\x40", 12), 0);
}

TEST(Safetensors, RoundTripsEveryDtypeScalarsAndEmptyTensors) {
  const TemporaryFolder folder;
  std::vector<std::pair<std::string, Tensor>> tensors;
  for (int i = 0; i <= static_cast<int>(DType::kU8); ++i) {
    const TensorSpec spec{concat("t", i), Shape{3, 5}, static_cast<DType>(i)};
    tensors.emplace_back(spec.name, make_whole(spec, 7).data.view({3, 5}));
  }
  tensors.emplace_back("scalar", make_whole({"scalar", {}, DType::kF64}, 7).data.view({}));
  tensors.emplace_back("empty", Tensor::empty({0, 4}, DType::kF32));
  write_safetensors(folder / "a", tensors, {});
  const SafetensorsReader reader(folder / "a");
  ASSERT_EQ(reader.entries().size(), tensors.size());
  for (const auto& [name, tensor] : tensors) {
    const Tensor loaded = reader.read_tensor(name);
    EXPECT_EQ(describe(loaded), describe(tensor));
    if (tensor.numel() == 0) continue;
    EXPECT_EQ(std::memcmp(loaded.data(), tensor.data(), static_cast<size_t>(tensor.bytes())), 0);
  }
  EXPECT_CONTAINS(error_text(ErrorKind::kData, [&] { reader.read_tensor("none"); }), "none");
  EXPECT_CONTAINS(
      error_text(ErrorKind::kCannotWrite, [&] { write_safetensors(folder / "a", tensors, {}); }),
      "File exists");
}

TEST(Safetensors, RefusesMalformedFiles) {
  const auto entry = [](const char* dtype, const char* shape, const char* offsets) {
    return concat(R"({"w":{"dtype":)", dtype, R"(,"shape":)", shape, R"(,"data_offsets":)", offsets,
                  "}}");
  };
  const std::string good = entry("\"F32\"", "[2]", "[0,8]");
  const std::string gap = R"({"a":{"dtype":"U8","shape":[2],"data_offsets":[0,2]},)"
                          R"("b":{"dtype":"U8","shape":[2],"data_offsets":[3,5]}})";
  const std::string overlap = R"({"a":{"dtype":"U8","shape":[2],"data_offsets":[0,2]},)"
                              R"("b":{"dtype":"U8","shape":[2],"data_offsets":[1,3]}})";
  std::string deep = R"({"__metadata__":)";
  for (int i = 0; i < 100000; ++i) deep += "[";
  struct Case {
    const char* what;
    std::string bytes, wanted;
  };
  const std::vector<Case> cases = {
      {"empty file", "", "header length"},
      {"seven bytes", "1234567", "header length"},
      {"length beyond the file", with_length(1000, good), "at most"},
      {"length of 2^64-1", with_length(~uint64_t{0}, good), "at most"},
      {"length of 2^63", with_length(uint64_t{1} << 63, good), "at most"},
      {"empty header", file_of("", 0), "'{'"},
      {"header is a list", file_of("[]", 0), "'{'"},
      {"cut JSON", file_of(good.substr(0, good.size() - 3), 8), "malformed JSON"},
      {"two values", file_of(good + good, 8), "malformed JSON"},
      {"invalid UTF-8", file_of("{\"\xff\":{}}", 0), "malformed JSON"},
      {"NUL byte", file_of(std::string("{\0}", 3), 0), "malformed JSON"},
      {"nested 100,000 deep", file_of(deep, 0), "nested"},
      {"duplicate tensor", file_of(good.substr(0, good.size() - 1) + "," + good.substr(1), 8),
       "twice"},
      {"duplicate field",
       file_of(R"({"w":{"dtype":"F32","dtype":"F64","shape":[1],"data_offsets":[0,4]}})", 4),
       "twice"},
      {"entry is no object", file_of(R"({"w":[0,8]})", 8), "want an object"},
      {"field missing", file_of(R"({"w":{"dtype":"F32","shape":[2]}})", 8), "want an object"},
      {"field too many",
       file_of(R"({"w":{"dtype":"F32","shape":[2],"data_offsets":[0,8],"x":1}})", 8),
       "want an object"},
      {"unknown dtype", file_of(entry("\"F4\"", "[2]", "[0,8]"), 8), "F4"},
      {"dtype is a number", file_of(entry("32", "[2]", "[0,8]"), 8), "want a text"},
      {"negative dimension", file_of(entry("\"F32\"", "[-2]", "[0,8]"), 8), "integer >= 0"},
      {"fractional dimension", file_of(entry("\"F32\"", "[2.0]", "[0,8]"), 8), "integer >= 0"},
      {"dimension of 2^64-1", file_of(entry("\"U8\"", "[18446744073709551615]", "[0,8]"), 8),
       "integer >= 0"},
      {"product wraps to 0", file_of(entry("\"U8\"", "[4294967296,4294967296]", "[0,0]"), 0),
       "too many"},
      {"product wraps behind a 0",
       file_of(entry("\"U8\"", "[0,4294967296,4294967296]", "[0,0]"), 0), "too many"},
      {"bytes wrap to 0", file_of(entry("\"F64\"", "[2305843009213693952]", "[0,0]"), 0),
       "too many"},
      {"six dimensions", file_of(entry("\"U8\"", "[1,1,1,1,1,1]", "[0,1]"), 1), "at most 5"},
      {"shape is a number", file_of(entry("\"F32\"", "2", "[0,8]"), 8), "want a list"},
      {"size does not fit", file_of(entry("\"F32\"", "[2]", "[0,4]"), 8), "needs 8 bytes"},
      {"end before begin", file_of(entry("\"F32\"", "[2]", "[8,0]"), 8), "needs 8 bytes"},
      {"empty tensor with bytes", file_of(entry("\"F32\"", "[0]", "[0,8]"), 8), "needs 0 bytes"},
      {"negative offset", file_of(entry("\"F32\"", "[2]", "[-8,0]"), 8), "integer >= 0"},
      {"three offsets", file_of(entry("\"F32\"", "[2]", "[0,8,8]"), 8), "[begin, end]"},
      {"starts with a gap", file_of(entry("\"F32\"", "[2]", "[4,12]"), 12), "a gap"},
      {"gap", file_of(gap, 5), "tensor b: starts at byte 3 of the data, want 2 (a gap)"},
      {"overlap", file_of(overlap, 3), "an overlap"},
      {"one byte less", file_of(good, 7), "has 7"},
      {"one byte more", file_of(good, 9), "has 9"},
      {"data of no tensor", file_of("{}", 4), "has 4"},
      {"metadata is a list", file_of(R"({"__metadata__":[]})", 0), "__metadata__"},
      {"metadata value is a number", file_of(R"({"__metadata__":{"a":1}})", 0), "want a text"},
  };
  const TemporaryFolder folder;
  const std::string path = folder / "bad.safetensors";
  for (const Case& bad : cases) {
    SCOPED_TRACE(bad.what);
    write_bytes(path, bad.bytes);
    const std::string text = error_text(ErrorKind::kData, [&] { SafetensorsReader reader(path); });
    EXPECT_CONTAINS(text, path);
    EXPECT_CONTAINS(text, bad.wanted);
  }
  write_bytes(path, file_of(good, 8));
  EXPECT_EQ(SafetensorsReader(path).entries().size(), 1u);
}

TEST(Safetensors, RefusesWhatIsNoFile) {
  const TemporaryFolder folder;
  error_text(ErrorKind::kMissingInput, [&] { SafetensorsReader reader(folder / "none"); });
  error_text(ErrorKind::kData, [&] { SafetensorsReader reader(folder.path()); });
  std::filesystem::create_symlink("/dev/null", folder / "device");
  error_text(ErrorKind::kData, [&] { SafetensorsReader reader(folder / "device"); });
  std::filesystem::create_symlink(folder / "none", folder / "dangling");
  EXPECT_CONTAINS(
      error_text(ErrorKind::kMissingInput, [&] { SafetensorsReader reader(folder / "dangling"); }),
      "link to nothing");
}

// Stores that link their files (the hub's cache, snapshots of a checkpoint) can be read.
TEST(Safetensors, FollowsALinkToAFile) {
  const TemporaryFolder folder;
  write_bytes(folder / "a", file_of("{}", 0));
  std::filesystem::create_symlink(folder / "a", folder / "link");
  EXPECT_EQ(SafetensorsReader(folder / "link").entries().size(), 0u);
}

}  // namespace
}  // namespace orthant
