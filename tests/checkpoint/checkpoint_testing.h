// SPDX-License-Identifier: Apache-2.0
// What the tests of checkpoints share: folders that go away, and tensors whose every element tells
// where it belongs.
#pragma once

#include <gtest/gtest.h>
#include <stdlib.h>

#include <cstring>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <string>
#include <vector>

#include "base/checksum.h"
#include "base/error.h"
#include "checkpoint/checkpoint_tensor.h"
#include "checkpoint/manifest.h"

namespace orthant::testing {

class TemporaryFolder {
 public:
  TemporaryFolder() {
    std::string pattern = (std::filesystem::temp_directory_path() / "orthant-test-XXXXXX").string();
    path_ = mkdtemp(pattern.data());
  }
  ~TemporaryFolder() {
    std::error_code ignored;
    std::filesystem::remove_all(path_, ignored);
  }
  TemporaryFolder(const TemporaryFolder&) = delete;
  TemporaryFolder& operator=(const TemporaryFolder&) = delete;
  const std::string& path() const { return path_; }
  std::string operator/(const std::string& name) const { return path_ + "/" + name; }

 private:
  std::string path_;
};

inline std::string read_bytes(const std::string& path) {
  std::ifstream in(path, std::ios::binary);
  return {std::istreambuf_iterator<char>(in), {}};
}
inline void write_bytes(const std::string& path, const std::string& bytes) {
  std::ofstream(path, std::ios::binary | std::ios::trunc) << bytes;
}

// The bytes that the elements of a slice have: any bit pattern, by (name, salt, global index).
inline std::string pattern_of(const std::string& name, const Shape& global,
                              const TensorSlice& slice, DType dtype, uint64_t salt) {
  const auto size = static_cast<size_t>(size_of(dtype));
  const uint64_t seed = xxh3_64(name.data(), name.size(), salt);
  std::string bytes;
  for (int64_t i = slice.flat_begin; i < slice.flat_begin + slice.numel(); ++i) {
    int64_t rest = i, index = 0, stride = 1;
    for (int d = global.rank() - 1; d >= 0; --d) {
      index += (slice.begin[static_cast<size_t>(d)] + rest % slice.shape[d]) * stride;
      rest /= slice.shape[d];
      stride *= global[d];
    }
    const uint64_t value = xxh3_64(&index, sizeof(index), seed);
    bytes.append(reinterpret_cast<const char*>(&value), size);
  }
  return bytes;
}

struct TensorSpec {
  std::string name;
  Shape shape;
  DType dtype;
};

inline CheckpointTensor make_tensor(const TensorSpec& spec, const TensorSlice& slice,
                                    uint64_t salt) {
  CheckpointTensor tensor{spec.name,        spec.shape,      slice.begin, slice.shape,
                          slice.flat_begin, slice.flat_size, {}};
  tensor.data = Tensor::empty({slice.numel()}, spec.dtype);
  const std::string bytes = pattern_of(spec.name, spec.shape, slice, spec.dtype, salt);
  if (!bytes.empty()) std::memcpy(tensor.data.data(), bytes.data(), bytes.size());
  return tensor;
}
inline CheckpointTensor make_whole(const TensorSpec& spec, uint64_t salt) {
  return make_tensor(spec, whole_slice(spec.shape), salt);
}
// The same without its contents, to be loaded.
inline CheckpointTensor blank(const TensorSpec& spec, const TensorSlice& slice) {
  CheckpointTensor tensor = make_tensor(spec, slice, 0);
  if (tensor.data.numel() > 0) {
    std::memset(tensor.data.data(), 0, static_cast<size_t>(tensor.data.bytes()));
  }
  return tensor;
}
inline bool holds_pattern(const CheckpointTensor& tensor, uint64_t salt) {
  const std::string wanted =
      pattern_of(tensor.name, tensor.global_shape, tensor.slice(), tensor.data.dtype(), salt);
  return wanted.empty() || std::memcmp(wanted.data(), tensor.data.data(), wanted.size()) == 0;
}

// Part `index` of `count` along a dimension, of sizes that differ by at most one.
inline TensorSlice part_of(const Shape& shape, int dim, int64_t index, int64_t count) {
  TensorSlice slice = whole_slice(shape);
  const int64_t begin = shape[dim] * index / count, end = shape[dim] * (index + 1) / count;
  slice.begin[static_cast<size_t>(dim)] = begin;
  slice.shape[dim] = end - begin;
  return slice;
}
inline TensorSlice flat_part(TensorSlice slice, int64_t index, int64_t count) {
  const int64_t n = slice.shape.numel();
  slice.flat_begin = n * index / count;
  slice.flat_size = n * (index + 1) / count - slice.flat_begin;
  return slice;
}

// The text of the Error that `body` throws; a failure when it throws none or another kind.
template <class Body>
std::string error_text(ErrorKind kind, Body body) {
  try {
    body();
  } catch (const Error& error) {
    EXPECT_EQ(error.exit_code(), static_cast<int>(kind)) << error.what();
    return error.what();
  }
  ADD_FAILURE() << "nothing was thrown";
  return "";
}

#define EXPECT_CONTAINS(text, part) \
  EXPECT_NE((text).find(part), std::string::npos) << "want '" << (part) << "' in: " << (text)

}  // namespace orthant::testing
