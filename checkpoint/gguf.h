// SPDX-License-Identifier: Apache-2.0
// The GGUF file format, versions 2 and 3, little-endian: a header with metadata by key and a list
// of tensors, then the tensors' bytes, each aligned.
//
// Source: github.com/ggml-org/ggml, docs/gguf.md.  The reader trusts nothing: it refuses what the
// rules below do not allow with Error(kData) that names file and key or tensor.
//   counts and lengths are checked against what the file has left, and kMaxGgufHeaderBytes, before
//   memory is taken for them; no key and no tensor twice; texts are UTF-8; no lists in lists;
//   1 to 4 dimensions of at least 1; every product checked for overflow; rows are whole blocks;
//   tensors cover the data: each begins where the one before ends, aligned, and the last ends with
//   the file, or less than the alignment before it.
// Not collective; a reader may be used by several threads.
#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <variant>
#include <vector>

#include "checkpoint/file_io.h"
#include "checkpoint/gguf_blocks.h"
#include "tensor/shape.h"

namespace orthant {

inline constexpr int64_t kMaxGgufHeaderBytes = int64_t{1} << 28;

// A value of the metadata.  Whole numbers of all widths are int64, fp32 is the double of the fewest
// digits that give it; a list of truth values is one of 0 and 1.
using GgufValue = std::variant<bool, int64_t, double, std::string, std::vector<int64_t>,
                               std::vector<double>, std::vector<std::string>>;

struct GgufTensor {
  std::string name;
  const GgufFormat* format = nullptr;
  Shape shape;                 // ours: what lies side by side is the last dimension
  int64_t begin = 0, end = 0;  // bytes, from the start of the data
};

class GgufReader {
 public:
  // Error(kMissingInput) when there is no such file, Error(kData) when it is malformed.
  explicit GgufReader(const std::string& path);

  const std::string& path() const { return file_.path(); }
  const std::map<std::string, GgufValue>& metadata() const { return metadata_; }
  const std::vector<GgufTensor>& tensors() const { return tensors_; }  // in the file's order
  const GgufTensor* find(const std::string& name) const;               // null when there is none

  // The value of a key; null where there is none.  Error(kData) for one of another type.
  template <class T>
  const T* value(const std::string& key) const {
    const auto found = metadata_.find(key);
    if (found == metadata_.end()) return nullptr;
    const T* value = std::get_if<T>(&found->second);
    if (!value) refuse_type(key, GgufValue(T{}));
    return value;
  }

  // Elements [first, first + count), whole blocks of the format, to `to` in its dtype.
  void read(const GgufTensor& tensor, int64_t first, int64_t count, void* to) const;

 private:
  [[noreturn]] void refuse_type(const std::string& key, const GgufValue& wanted) const;
  void check_layout(int64_t alignment);

  InputFile file_;
  int64_t data_begin_ = 0;
  std::map<std::string, GgufValue> metadata_;
  std::vector<GgufTensor> tensors_;
  std::map<std::string, size_t> by_name_;
};

}  // namespace orthant
