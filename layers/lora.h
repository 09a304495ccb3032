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

#include "layers/adapter_rows.h"
#include "layers/lora_config.h"
#include "layers/tensor_parallel.h"
#include "parallel/parameter.h"
#include "tensor/autograd/low_rank.h"

namespace orthant {

struct LayerBuilder;
class Magnitudes;

// The adapters of a model, or of a stage of it, and the pass that goes through them.
class AdapterSet {
 public:
  // One at least.
  AdapterSet(NamedAdapters all, uint64_t seed) : all_(std::move(all)), seed_(seed) {}
  const NamedAdapters& all() const { return all_; }
  bool are_named() const { return !all_.front().name.empty(); }
  uint64_t seed() const { return seed_; }
  // Whether the pass is one of training, and adapters drop out.
  bool drops() const { return rows_ != nullptr && dropout() > 0; }
  double dropout() const { return all_.front().rules->config().dropout; }
  const AdapterRows& rows() const { return *rows_; }
  // Of adapters by name, of which each row of the pass has one.
  const ChosenAdapters& chosen() const;
  // Whether the rows that go to experts are to be followed there, and what they are called.
  bool follows_rows() const { return drops() || chosen_ != nullptr; }
  const Tensor& own_rows() const { return chosen_ ? chosen_->own_marks : rows_->own; }
  // Of the rows that a layer's experts see next: what they are called * num_experts + expert.
  void set_expert_rows(Tensor rows, int64_t num_experts);
  const Tensor& expert_rows() const { return expert_rows_; }
  const RowChoice& chosen_by_experts() const { return expert_choice_; }
  // Magnitudes of DoRA become the norms of the weights' rows, as training begins with.  Collective
  // over the ranks that hold the layers.
  void set_magnitudes() const;
  void add(std::shared_ptr<const Magnitudes> magnitudes) {
    magnitudes_.push_back(std::move(magnitudes));
  }

 private:
  friend class AdapterScope;

  NamedAdapters all_;
  uint64_t seed_;
  const AdapterRows* rows_ = nullptr;
  const ChosenAdapters* chosen_ = nullptr;
  Tensor expert_rows_;
  RowChoice expert_choice_;
  std::vector<std::shared_ptr<const Magnitudes>> magnitudes_;
};

// While it lives, a pass goes through the set's adapters.
class AdapterScope {
 public:
  // set: may be null.  What is given must outlive this.
  AdapterScope(AdapterSet* set, const AdapterRows& rows) : set_(set) {
    if (set_) set_->rows_ = rows.step > 0 ? &rows : nullptr;
  }
  AdapterScope(AdapterSet* set, const ChosenAdapters& chosen) : set_(set) {
    if (set_ && set_->are_named()) set_->chosen_ = &chosen;
  }
  ~AdapterScope() {
    if (!set_) return;
    set_->rows_ = nullptr;
    set_->chosen_ = nullptr;
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
  // The same where all rows have one of the adapters by name, or none; without names as above.
  Var forward_with(const Var& x, Weight& base, int64_t adapter) const;
  // Whether it adds anything to such rows.
  bool is_of(int64_t adapter) const;

 private:
  Var dropped(const Var& x, bool grouped) const;
  LowRank low_of(const Var& x, bool grouped) const;

  std::shared_ptr<const AdapterSet> set_;
  LowRank low_;
  std::vector<size_t> adapter_of_;                // by part of low_
  std::shared_ptr<const Magnitudes> magnitudes_;  // null without DoRA
  std::string site_;                              // keys dropout
  int64_t width_ = 0, column_ = 0;  // of the product's input, and of this rank's part of it
};

// Beside an embedding: to a token's row A's row of it is added, times scale B^T.
//   MODULE.lora_embedding_A [vocab, rank]    MODULE.lora_embedding_B [width, rank]
class EmbeddingAdapter {
 public:
  // own: the ids of which this rank holds rows.  Of each adapter that the table has.
  static std::vector<EmbeddingAdapter> make(const LayerBuilder& build, const Parameter& table,
                                            const DimPart& own);
  // What is added to the rows of ids, a partial sum where ranks share the vocabulary.
  Var forward(const Tensor& ids) const;

 private:
  std::shared_ptr<const AdapterSet> set_;
  size_t adapter_ = 0;  // of the set
  ParameterUse *a_ = nullptr, *b_ = nullptr;
  double scale_ = 1.0;
};

// Beside the head, called lm_head whatever weight it uses.
class LogitsAdapter {
 public:
  // Of each adapter that the head has.
  static std::vector<LogitsAdapter> make(const LayerBuilder& build, int64_t vocab, int64_t width,
                                         const DimPart& own);
  // What is added to the logits of rows x.
  HeadAdapter of(const Var& x) const;

 private:
  std::shared_ptr<const AdapterSet> set_;
  size_t adapter_ = 0;  // of the set
  ParameterUse *a_ = nullptr, *b_ = nullptr;
  double scale_ = 1.0;
};

}  // namespace orthant
