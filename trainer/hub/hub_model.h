// SPDX-License-Identifier: Apache-2.0
// A published model, opened: its configuration, and where each tensor of ours is in it.
#pragma once

#include <map>
#include <string>
#include <vector>

#include "model/hub/hub_tensors.h"
#include "trainer/hub/hub_config.h"
#include "trainer/hub/published_model.h"

namespace orthant {

// One of our logical tensors, and where its elements come from.
struct ImportTensor {
  std::string name;
  Shape shape;
  DType dtype;  // that it is kept in: the folder's, fp16 as fp32, fp8 as bf16
  HubSource source;
  RotaryRows rotary;
};

class HubModel {
 public:
  // Error(kMissingInput), Error(kConfig) and Error(kData) name file, key and tensor: every tensor
  // of the model must be there with its shape, and nothing else but what is known to be no part of
  // it.
  explicit HubModel(const std::string& path) : HubModel(open_published(path)) {}
  // predicts_further: the layer for multi-token prediction is part of the model.
  explicit HubModel(PublishedModel published, const std::string& tokenizer = "byte",
                    bool predicts_further = false);

  const HubConfig& hub() const { return hub_; }
  const PublishedModel& published() const { return published_; }
  const TensorSource& source() const { return *published_.tensors; }
  const std::vector<ImportTensor>& tensors() const { return tensors_; }
  // Of layers behind the last, as they are in the source.
  const std::vector<std::string>& extra() const { return extra_; }
  // The tensor's bytes, in its dtype and our order.
  std::string read(const ImportTensor& tensor) const;

 private:
  ImportTensor find(const std::string& name, const Shape& shape, std::string& fault) const;
  void predict_further();
  void check_leftover(const std::vector<std::string>& faults);

  PublishedModel published_;
  HubConfig hub_;
  std::vector<ImportTensor> tensors_;
  std::vector<std::string> extra_;
};

// Names and shapes of the model's logical tensors, in the order of forward.
std::vector<std::pair<std::string, Shape>> logical_tensors(const RunConfig& config);

}  // namespace orthant
