// SPDX-License-Identifier: Apache-2.0
// The safetensors file format: u64 header length, JSON header padded with spaces to 8 bytes, then
// the tensors' bytes, one behind the other without gaps.
//
// Source: github.com/huggingface/safetensors, README "Format".  The reader trusts nothing: it
// refuses what the rules below do not allow with Error(kData) that names file and tensor.
//   header length <= min(100 MB, file size - 8), checked before memory is taken for it;
//   one object, no duplicate keys; dtype one of ours; dimensions are integers >= 0, at most 5;
//   every product checked for overflow; end - begin == elements x size;
//   tensors cover the data from 0 to the end of the file: no gap, no overlap, no trailing byte.
// Not collective; a reader may be used by several threads.
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "checkpoint/file_io.h"
#include "tensor/tensor.h"

namespace orthant {

struct SafetensorsEntry {
  std::string name;
  DType dtype = DType::kF32;
  Shape shape;
  int64_t begin = 0, end = 0;  // bytes, from the start of the data; the writer fills them in
};

std::string_view safetensors_dtype(DType dtype);  // "F32", "BF16", ...
// Elements times size; Error(kData) beginning with `what` when that is no int64.
int64_t safetensors_bytes(const Shape& shape, DType dtype, const std::string& what);

class SafetensorsReader {
 public:
  // Error(kMissingInput) when there is no such file, Error(kData) when it is malformed.
  explicit SafetensorsReader(const std::string& path);

  const std::string& path() const { return file_.path(); }
  const std::vector<SafetensorsEntry>& entries() const { return entries_; }  // in file order
  const std::map<std::string, std::string>& metadata() const { return metadata_; }
  const SafetensorsEntry* find(const std::string& name) const;  // null when there is none
  // The entry's bytes [offset, offset + bytes).
  void read(const SafetensorsEntry& entry, int64_t offset, void* to, int64_t bytes) const;
  // Error(kData) when there is none.
  Tensor read_tensor(const std::string& name) const;

 private:
  void parse_header(const std::string& text);

  InputFile file_;
  int64_t data_begin_ = 0;
  std::vector<SafetensorsEntry> entries_;
  std::map<std::string, size_t> by_name_;
  std::map<std::string, std::string> metadata_;
};

// Writes a new file; it must not exist.  Data is streamed: append() the tensors' bytes in the order
// of `entries`, in pieces of any size.  Error(kCannotWrite) with path, reason and free space.
class SafetensorsWriter {
 public:
  SafetensorsWriter(const std::string& path, std::vector<SafetensorsEntry> entries,
                    const std::map<std::string, std::string>& metadata);
  void append(const void* data, int64_t bytes);
  // Flushes to the device and closes.  Error(kInternal) when bytes are missing.
  void finish();
  int64_t total_bytes() const { return total_bytes_; }        // that the file will have
  std::string checksum() const { return file_->checksum(); }  // xxh3-128 of what is written

 private:
  int64_t total_bytes_ = 0;
  std::optional<OutputFile> file_;
};

// All of it at once: host tensors by name.
void write_safetensors(const std::string& path,
                       const std::vector<std::pair<std::string, Tensor>>& tensors,
                       const std::map<std::string, std::string>& metadata);

}  // namespace orthant
