// SPDX-License-Identifier: Apache-2.0
// What every layer is built from, and the weights that layers add to the store.
#pragma once

#include <memory>

#include "layers/lora.h"
#include "layers/quantization_config.h"
#include "layers/tensor_parallel.h"
#include "parallel/parameter_store.h"
#include "parallel/rank_groups.h"
#include "tensor/autograd/ops.h"

namespace orthant {

struct LayerBuilder {
  ParameterStore& store;
  DType dtype;  // of weights and activations
  Device device;
  double init_std;
  RankGroups ranks = {};
  std::shared_ptr<AdapterSet> adapters = {};                   // null: none
  std::shared_ptr<const QuantizationRules> quantization = {};  // null: none
  DType wide() const { return wide_of(dtype); }
  TensorParallel tensor() const { return {ranks.tensor, ranks.sequence_parallel}; }
  // Of what every tensor-parallel rank applies to the stream.
  Replicas stream_replicas() const {
    if (ranks.tensor.size() == 1) return Replicas::kDense;
    return ranks.sequence_parallel ? Replicas::kRows : Replicas::kAlike;
  }
  // How the weight of a product is held, of which these are the logical tensors: Error(kConfig)
  // where only some of them are to be quantised.
  Quantization quantization_of(const std::vector<LogicalTensor>& parts) const;
};

// Rows of a weight that form one logical tensor [rows, in]; this rank holds `own` of them.
struct WeightPart {
  std::string name;
  int64_t rows;
  DimPart own = {};
};

struct MatrixOptions {
  DType dtype;
  DimPart own_in = {};  // of the columns
  Replicas replicas = Replicas::kDense;
  Tied tied = Tied::kNo;
  bool is_product = false;  // of a layer, so that it may be quantised
  bool has_bias = false;    // of a Linear: "NAME.bias" beside each "NAME.weight", 0 at first
  // Of a Linear: names its input for adapters' dropout, where a layout may have one product or two
  // on the same input.  Empty: the storage's name.
  std::string input = {};
};

// Adds a weight [sum of the parts' own rows, own columns] to the store.
ParameterUse& add_matrix(const LayerBuilder& build, const std::string& storage_name, int64_t in,
                         const std::vector<WeightPart>& parts, const MatrixOptions& options);
// The biases beside it, [sum of the parts' own rows]: "NAME.bias" of a part "NAME.weight".
ParameterUse& add_vector(const LayerBuilder& build, const std::string& storage_name,
                         const std::vector<WeightPart>& parts, const MatrixOptions& options);

}  // namespace orthant
