// SPDX-License-Identifier: Apache-2.0
// The tensors of a PEFT folder's file, as types that are computed with.
#pragma once

#include <deque>
#include <string>
#include <utility>

#include "checkpoint/safetensors.h"
#include "model/hub/peft_tensors.h"

namespace orthant {

// The last four are kept: the experts of a layer share so many.  Not for several threads.
class PeftFile {
 public:
  // Error(kMissingInput), Error(kData).
  explicit PeftFile(const std::string& path) : reader_(path) {}

  const SafetensorsReader& reader() const { return reader_; }
  const SafetensorsEntry* find(const std::string& name) const { return reader_.find(name); }
  std::string place_of(const std::string& name) const;  // in messages

  // That a tensor is read as: fp16 is fp32.  Error(kData): it is no number of a wide enough type.
  DType dtype_of(const std::string& name) const;
  // Its bytes, until another is read.  Error(kData): one is NaN or infinite.
  const std::string& read(const std::string& name);
  // One of ours, out of it.
  Tensor read(const PeftTensor& tensor);

 private:
  SafetensorsReader reader_;
  std::deque<std::pair<std::string, std::string>> kept_;  // names and bytes
};

}  // namespace orthant
