// SPDX-License-Identifier: Apache-2.0
// Magnitudes beside adapters: the rows of the adapted weight are brought to norms that train by
// themselves.  Liu et al., "DoRA", arXiv:2402.09353.
//
//   y = m / ||W + s B A|| * (x W^T + s (x A^T) B^T),  row by row of W
//
// No gradient goes through the norm.
//
//   MODULE.lora_magnitude_vector [out]
#pragma once

#include <functional>
#include <memory>
#include <vector>

#include "layers/builder.h"

namespace orthant {

class Magnitudes {
 public:
  // One part of a product and its adapter: the logical weights of all experts, or the one.
  struct Part {
    std::vector<LogicalTensor> weights;
    int64_t begin = 0;                 // of its columns in the product's result
    int64_t rank_begin = 0, rank = 0;  // of its rows in a
    const Parameter *a = nullptr, *b = nullptr;
    double scale = 1.0;
    Replicas replicas = Replicas::kDense;  // of its magnitudes
  };
  // Adds the magnitudes to the store.  sum: of doubles over the ranks that cut the product by its
  // inputs, where there are several.
  Magnitudes(const LayerBuilder& build, const Parameter& base, std::vector<Part> parts,
             std::function<std::vector<double>(std::span<const double>)> sum);

  // The product's result, brought to the magnitudes.  Collective where ranks cut the inputs.
  Var scale(const Var& y, const RowOffsets& offsets) const;
  // To the norms of the rows as they are now.  Likewise.
  void set() const;

 private:
  // By part, in the shape of its magnitudes.
  const std::vector<Tensor>& norms() const;
  void add_square_sums(const Tensor& base, const Part& part, size_t expert,
                       std::vector<double>& sums) const;

  const Parameter& base_;
  std::vector<Part> parts_;
  std::vector<ParameterUse*> weights_;
  std::function<std::vector<double>(std::span<const double>)> sum_;  // may be empty
  // Until a value changes.
  mutable int64_t version_ = -1;
  mutable std::vector<Tensor> norms_;
};

}  // namespace orthant
