// SPDX-License-Identifier: Apache-2.0
// Linear maps without bias, and their parameters.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "layers/tensor_parallel.h"
#include "parallel/parameter.h"
#include "parallel/rank_groups.h"
#include "tensor/autograd/ops.h"

namespace orthant {

// What every layer is built from.
struct LayerBuilder {
  ParameterStore& store;
  DType dtype;  // of weights and activations
  Device device;
  double init_std;
  RankGroups ranks = {};
  DType wide() const { return wide_of(dtype); }
  TensorParallel tensor() const { return {ranks.tensor, ranks.sequence_parallel}; }
  // Of what every tensor-parallel rank applies to the stream.
  Replicas stream_replicas() const {
    if (ranks.tensor.size() == 1) return Replicas::kDense;
    return ranks.sequence_parallel ? Replicas::kRows : Replicas::kAlike;
  }
};

// Rows of a weight that form one logical tensor [rows, in]; this rank holds `own` of them.
struct WeightPart {
  std::string name;
  int64_t rows;
  DimPart own = {};
};

struct LinearOptions {
  DType dtype;
  DimPart own_in = {};  // of the columns
  Replicas replicas = Replicas::kDense;
  Tied tied = Tied::kNo;
};

// y = x W^T; several logical weights may share one product (q, k and v; gate and up).
class Linear {
 public:
  // W [sum of own rows, own columns].
  Linear(const LayerBuilder& build, const std::string& storage_name, int64_t in,
         const std::vector<WeightPart>& parts, const LinearOptions& options);
  // The same weight as another parameter, as a second use of it.
  Linear(const LayerBuilder& build, const std::string& storage_name, Parameter& tied_to);
  Var forward(const Var& x) const { return linear(x, *weight_); }
  Parameter& weight() const { return *weight_; }

 private:
  Parameter* weight_;
};

// Which of a layer's routed experts this rank holds, and which part of their inner width.
struct ExpertShard {
  int64_t first = 0, count = 0;
  int64_t part = 0, num_parts = 1;
};
// What the inner width of an expert is in a weight [out, in].
enum class InnerDim { kOut, kIn };

// One weight per expert, applied to rows that are sorted by expert.  Logical names: prefix + expert
// + part name.
class GroupedLinear {
 public:
  // in and the parts' rows are those of the whole weight.
  GroupedLinear(const LayerBuilder& build, const std::string& storage_name,
                const std::string& prefix, const ExpertShard& shard, InnerDim inner, int64_t in,
                const std::vector<WeightPart>& parts);
  Var forward(const Var& x, std::shared_ptr<const std::vector<int64_t>> offsets) const {
    return grouped_linear(x, *weight_, std::move(offsets));
  }
  Parameter& weight() const { return *weight_; }
  // Whether the i-th of this rank's experts is called so: all its logical names contain `name`.
  bool holds(int64_t i, const std::string& name) const;

 private:
  Parameter* weight_;
};

class RmsNorm {
 public:
  RmsNorm(const LayerBuilder& build, const std::string& name, int64_t width, double eps);
  Var forward(const Var& x) const {
    return remake([this](const Var& v) { return rms_norm(v, *weight_, eps_); }, x);
  }

 private:
  Parameter* weight_;
  double eps_;
};

// Tensor-parallel ranks share the vocabulary.
class Embedding {
 public:
  // tied kOwner: another stage has the head.
  Embedding(const LayerBuilder& build, const std::string& name, int64_t vocab, int64_t width,
            Tied tied = Tied::kNo);
  // ids i32 [N] of all rows, on the host -> the stream.
  Var forward(const Tensor& ids) const;
  Parameter& weight() const { return *weight_; }

 private:
  TensorParallel tensor_;
  DimPart own_;  // ids
  Parameter* weight_;
};

// From the final norm to the loss; tensor-parallel ranks share the vocabulary.
class Head {
 public:
  // tied kMirror: of the embedding that is called so, on another stage.
  Head(const LayerBuilder& build, const std::string& name, int64_t vocab, int64_t width,
       Tied tied = Tied::kNo);
  // The same weight as the embedding, as a second use of it.
  Head(const LayerBuilder& build, int64_t vocab, const Embedding& tied_to);
  // x of the stream; labels i32 [N] of all rows.  Loss and losses are the same on every rank.
  HeadLoss loss(const Var& x, const Tensor& labels) const;
  // x of all rows -> [N, vocab] in the wide type; no gradient.
  Tensor logits(const Tensor& x) const;
  Parameter& weight() const { return linear_.weight(); }

 private:
  TensorParallel tensor_;
  int64_t vocab_;
  Linear linear_;
};

// down(silu(gate x) * up x); tensor-parallel ranks share the inner width.
class FeedForward {
 public:
  // Logical names: prefix + "gate_proj.weight", ...
  FeedForward(const LayerBuilder& build, const std::string& prefix, int64_t width, int64_t inner);
  // x of the stream, `rows` of it on all ranks.
  Var forward(const Var& x, int64_t rows) const;

 private:
  TensorParallel tensor_;
  Linear gate_up_, down_;
};

}  // namespace orthant
