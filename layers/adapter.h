// SPDX-License-Identifier: Apache-2.0
// Where adapters, such as LoRA's (Hu et al., arXiv:2106.09685), stand beside a product.
//
// Linear and GroupedLinear ask for a branch by logical name, for each part of their product, when
// they are built; embeddings, norms and the head ask for none.  What the branch gives is added to
// the part's columns of the product's result:
//
//   y[:, columns of the part] += branch(x)
#pragma once

#include <functional>
#include <memory>
#include <span>
#include <vector>

#include "parallel/parameter.h"
#include "tensor/autograd/ops.h"

namespace orthant {

struct LayerBuilder;

// Where each expert's rows begin in rows that are sorted by expert, and where the last one's end.
using RowOffsets = std::shared_ptr<const std::vector<int64_t>>;

// x: the product's input, with this rank's columns -> [rows, this rank's rows of the part].  Under
// tensor parallelism it is what the product is: a whole result, or a partial sum.  offsets: null
// where there are no experts.
using Branch = std::function<Var(const Var& x, const RowOffsets& offsets)>;

// part: logical tensors of `base`: one, or the same one of each of this rank's experts, in order.
// May add parameters to the store.  Empty: nothing is added to the product.
using AdapterFactory = std::function<Branch(const LayerBuilder& build, const Parameter& base,
                                            std::span<const LogicalTensor> part)>;

// The branches beside one product.
class Branches {
 public:
  // begin: of the part's columns in the product's result.
  void ask_for(const LayerBuilder& build, const Parameter& base,
               std::span<const LogicalTensor> part, int64_t begin);
  bool empty() const { return attached_.empty(); }
  // y with what the branches make of x.
  Var add_to(Var y, const Var& x, const RowOffsets& offsets = nullptr) const;

 private:
  struct Attached {
    int64_t begin;
    Branch branch;
  };
  std::vector<Attached> attached_;
};

}  // namespace orthant
