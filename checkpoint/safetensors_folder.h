// SPDX-License-Identifier: Apache-2.0
// The weights of a published model: model.safetensors, or shards that model.safetensors.index.json
// lists.  Not collective; may be used by several threads.
#pragma once

#include <map>
#include <memory>
#include <string>
#include <vector>

#include "checkpoint/safetensors.h"

namespace orthant {

class SafetensorsFolder {
 public:
  // Error(kMissingInput): no such folder, neither of the two files, or a shard that the index names
  // is not there.  Error(kData): a file that is malformed, a tensor that two files have or that is
  // not where the index says.
  explicit SafetensorsFolder(const std::string& path);

  const std::string& path() const { return path_; }
  std::vector<std::string> names() const;  // sorted
  // Null where there is none.
  const SafetensorsEntry* find(const std::string& name) const;
  // The file that has the tensor, for messages.
  const std::string& file_of(const std::string& name) const;
  // Bytes [offset, offset + bytes) of a tensor.
  void read(const std::string& name, int64_t offset, void* to, int64_t bytes) const;

 private:
  struct Place {
    const SafetensorsReader* file;
    const SafetensorsEntry* entry;
  };
  void add(const std::string& file);
  void check_index(const std::map<std::string, std::string>& file_of_tensor) const;

  std::string path_;
  std::vector<std::unique_ptr<SafetensorsReader>> files_;
  std::map<std::string, Place> tensors_;
};

}  // namespace orthant
