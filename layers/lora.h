// SPDX-License-Identifier: Apache-2.0
// Adapters of low rank beside a product.  Hu et al., arXiv:2106.09685.
//
// Layers ask for them when they are built, by the logical names of the product's parts.  What they
// add to the store is called after the module that they stand beside, one pair for each expert:
//   MODULE.lora_A.weight [rank, in]    MODULE.lora_B.weight [out, rank]
//
// Tensor-parallel ranks that cut a product by its outputs hold A whole and cut B; those that cut it
// by its inputs cut A and hold B whole.  What is held whole sees a part of the result each, so its
// gradients are partial sums; no collective is added to the product's own.
#pragma once

#include <memory>
#include <span>
#include <vector>

#include "layers/lora_config.h"
#include "layers/tensor_parallel.h"
#include "parallel/parameter.h"
#include "tensor/autograd/low_rank.h"

namespace orthant {

struct LayerBuilder;

// How ranks that hold a product together cut it: not, by its outputs, or by its inputs.
enum class Cut { kNone, kOutputs, kInputs };

class ProductAdapter {
 public:
  // base: the product's weight.  parts: the logical tensors that share its columns, in their order:
  // of each part one, or the same one of each of this rank's experts.  Null where no part has an
  // adapter.  Error(kConfig): only some experts have one, or not of one kind.
  static std::shared_ptr<const ProductAdapter> make(
      const LayerBuilder& build, const Parameter& base, Cut cut,
      const std::vector<std::vector<LogicalTensor>>& parts);

  // x w^T with what the adapters add.
  Var forward(const Var& x, Weight& base, const RowOffsets& offsets = nullptr) const {
    return adapted_linear(x, base, low_, offsets);
  }

 private:
  LowRank low_;
};

// Beside an embedding: to a token's row A's row of it is added, times scale B^T.
//   MODULE.lora_embedding_A [vocab, rank]    MODULE.lora_embedding_B [width, rank]
class EmbeddingAdapter {
 public:
  // own: the ids of which this rank holds rows.  Null where it has none.
  static std::shared_ptr<const EmbeddingAdapter> make(const LayerBuilder& build,
                                                      const Parameter& table, const DimPart& own);
  // What is added to the rows of ids, a partial sum where ranks share the vocabulary.
  Var forward(const Tensor& ids) const;

 private:
  ParameterUse *a_ = nullptr, *b_ = nullptr;
  double scale_ = 1.0;
};

// Beside the head, called lm_head whatever weight it uses.
class LogitsAdapter {
 public:
  static std::shared_ptr<const LogitsAdapter> make(const LayerBuilder& build, int64_t vocab,
                                                   int64_t width, const DimPart& own);
  // What is added to the logits of rows x.
  HeadAdapter of(const Var& x) const;

 private:
  ParameterUse *a_ = nullptr, *b_ = nullptr;
  double scale_ = 1.0;
};

}  // namespace orthant
