// SPDX-License-Identifier: Apache-2.0
// Named tensors of a published model, whatever files they are in.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "checkpoint/safetensors.h"

namespace orthant {

class TensorSource {
 public:
  virtual ~TensorSource() = default;

  virtual const std::string& path() const = 0;
  virtual std::vector<std::string> names() const = 0;  // sorted
  // Null where there is none.
  virtual const SafetensorsEntry* find(const std::string& name) const = 0;
  // "FILE: tensor NAME", as the file calls it, also of one that is not there.
  virtual std::string place_of(const std::string& name) const = 0;
  // Bytes [offset, offset + bytes) of a tensor, in its entry's dtype.
  virtual void read(const std::string& name, int64_t offset, void* to, int64_t bytes) const = 0;
};

}  // namespace orthant
