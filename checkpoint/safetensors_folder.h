// SPDX-License-Identifier: Apache-2.0
// The weights of a published model: model.safetensors, or shards that model.safetensors.index.json
// lists.  Not collective; may be used by several threads.
#pragma once

#include <map>
#include <memory>
#include <string>
#include <vector>

#include "checkpoint/tensor_source.h"

namespace orthant {

class SafetensorsFolder final : public TensorSource {
 public:
  // Error(kMissingInput): no such folder, neither of the two files, or a shard that the index names
  // is not there.  Error(kData): a file that is malformed, a tensor that two files have or that is
  // not where the index says.
  explicit SafetensorsFolder(const std::string& path);

  const std::string& path() const override { return path_; }
  std::vector<std::string> names() const override;
  const SafetensorsEntry* find(const std::string& name) const override;
  std::string place_of(const std::string& name) const override;
  void read(const std::string& name, int64_t offset, void* to, int64_t bytes) const override;

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
