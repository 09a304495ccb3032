// SPDX-License-Identifier: Apache-2.0
// Adapters of low rank beside a product.  Hu et al., arXiv:2106.09685.
//
// Layers ask for them when they are built, by the logical names of the product's parts.  What they
// add to the store is called after the module that they stand beside, one pair for each expert:
//   MODULE.lora_A.weight [rank, in]    MODULE.lora_B.weight [out, rank]
//   MODULE.lora_magnitude_vector [out], with DoRA (Liu et al., arXiv:2402.09353)
// What they see may be dropped out, but not beside embeddings and the head.
//
// Tensor-parallel ranks that cut a product by its outputs hold A whole and cut B; those that cut it
// by its inputs cut A and hold B whole.  What is held whole sees a part of the result each, so its
// gradients are partial sums; a step adds no collective to the product's own (the norms of DoRA are
// summed once after each update).
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
class Magnitudes;

// Which tokens of the step the rows of a pass are, i64: dropout is a function of the token.
struct AdapterRows {
  uint64_t step = 0;
  Tensor local, own;  // all rows that tensor-parallel ranks share, and those that are one's own
};

// The adapters of a model, or of a stage of it, and the pass that goes through them.
class AdapterSet {
 public:
  AdapterSet(std::shared_ptr<const LoraRules> rules, uint64_t seed)
      : rules_(std::move(rules)), seed_(seed) {}
  const LoraRules& rules() const { return *rules_; }
  uint64_t seed() const { return seed_; }
  // Whether the pass is one of training, and adapters drop out.
  bool drops() const { return rows_ != nullptr && rules_->config().dropout > 0; }
  const AdapterRows& rows() const { return *rows_; }
  // Of the rows that a layer's experts see next: token * experts + expert.
  void set_expert_rows(Tensor rows) { expert_rows_ = std::move(rows); }
  const Tensor& expert_rows() const { return expert_rows_; }
  // Magnitudes of DoRA become the norms of the weights' rows, as training begins with.  Collective
  // over the ranks that hold the layers.
  void set_magnitudes() const;
  void add(std::shared_ptr<const Magnitudes> magnitudes) {
    magnitudes_.push_back(std::move(magnitudes));
  }

 private:
  friend class AdapterScope;

  std::shared_ptr<const LoraRules> rules_;
  uint64_t seed_;
  const AdapterRows* rows_ = nullptr;
  Tensor expert_rows_;
  std::vector<std::shared_ptr<const Magnitudes>> magnitudes_;
};

// While it lives, a pass of training goes through the set's adapters.
class AdapterScope {
 public:
  // set: may be null.  rows must outlive this.
  AdapterScope(AdapterSet* set, const AdapterRows& rows) : set_(set) {
    if (set_) set_->rows_ = rows.step > 0 ? &rows : nullptr;
  }
  ~AdapterScope() {
    if (set_) set_->rows_ = nullptr;
  }
  AdapterScope(const AdapterScope&) = delete;
  AdapterScope& operator=(const AdapterScope&) = delete;

 private:
  AdapterSet* set_;
};

// How ranks that hold a product together cut it: not, by its outputs, or by its inputs.
enum class Cut { kNone, kOutputs, kInputs };

class ProductAdapter {
 public:
  // base: the product's weight.  parts: the logical tensors that share its columns, in their order:
  // of each part one, or the same one of each of this rank's experts.  Null where no part has an
  // adapter.  Error(kConfig): only some experts have one, or not of one kind.
  // input: keys dropout of what the adapters see.
  static std::shared_ptr<const ProductAdapter> make(
      const LayerBuilder& build, const Parameter& base, Cut cut,
      const std::vector<std::vector<LogicalTensor>>& parts, const std::string& input);

  // x w^T with what the adapters add.
  Var forward(const Var& x, Weight& base, const RowOffsets& offsets = nullptr) const;

 private:
  Var dropped(const Var& x, bool grouped) const;

  std::shared_ptr<const AdapterSet> set_;
  LowRank low_;
  std::shared_ptr<const Magnitudes> magnitudes_;  // null without DoRA
  std::string site_;                              // keys dropout
  int64_t width_ = 0, column_ = 0;  // of the product's input, and of this rank's part of it
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
