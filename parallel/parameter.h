// SPDX-License-Identifier: Apache-2.0
// Trainable storage and the logical tensors in it.
//
// A Parameter is one storage tensor, laid out as kernels want it (q, k, v together; gate and up
// together; experts as [experts, out, in]).  Its table names the logical tensors inside: the hub's
// names, unfused, one per expert, each contiguous in storage.  Initialisation, the gradient norm,
// checkpoints and `verify` loop over logical tensors; optimizer and gradient buckets over storage.
#pragma once

#include <array>
#include <memory>
#include <string>
#include <vector>

#include "tensor/autograd/weight.h"

namespace orthant {

struct LogicalTensor {
  std::string name;            // "model.layers.3.mlp.experts.7.gate_proj.weight"
  Shape global_shape;          // of the whole tensor
  std::vector<int64_t> begin;  // where this rank's rectangle starts, one per dimension
  Shape shape;                 // its size
  int64_t offset = 0;          // of its first element in the storage, in elements
  double init_std = 0.0;       // normal initial values with this deviation; 0: init_value
  double init_value = 0.0;

  bool is_whole() const { return shape == global_shape; }
};
// A tensor that this rank holds whole.
LogicalTensor whole_tensor(std::string name, const Shape& shape, int64_t offset, double init_std);

class GradientBuffers;
class ValueBuckets;

enum class Tied { kNo, kOwner, kMirror };

// Which ranks hold the same values of a parameter, add up their gradients of it and share its
// optimizer state: a group of ReplicaGroups (parallel/buckets.h).
enum class Replicas {
  kDense,     // what tensor-parallel ranks cut
  kAlike,     // what tensor-parallel ranks hold whole, each for all rows
  kRows,      // what tensor-parallel ranks hold whole, each for rows of its own
  kKeyValue,  // keys and values of heads that several tensor-parallel ranks have
  kExpert,    // experts
};

class Parameter final : public Weight {
 public:
  struct Options {
    std::string name;  // of the storage, unique: "model.layers.3.self_attn.qkv"
    Shape shape;
    DType dtype = DType::kF32;
    Device device;
    std::vector<LogicalTensor> logical;
    Replicas replicas = Replicas::kDense;
    // A second use of another parameter's value (tied head).  It has a gradient of its own, which
    // is added to the other's once both are reduced; optimizer, norm and checkpoints see only the
    // other.
    Parameter* tied_to = nullptr;
    // Shared with another pipeline rank (parallel/tied_stages.h).  A mirror has a value and a
    // gradient of its own, but no logical tensors to others.
    Tied tied = Tied::kNo;
  };
  explicit Parameter(Options options);

  const std::string& name() const { return options_.name; }
  // A tied one goes with the parameter whose value it uses.
  Replicas replicas() const { return own_or_tied().options_.replicas; }
  Parameter* tied_to() const { return options_.tied_to; }
  Tied tied() const { return options_.tied; }
  bool is_mirror() const { return tied() == Tied::kMirror; }
  // Of what this rank answers for: none of a tied head or a mirror.
  const std::vector<LogicalTensor>& logical() const;
  // Of the storage, whoever answers for it.
  const std::vector<LogicalTensor>& table() const { return own_or_tied().options_.logical; }
  Shape shape() const override { return own_or_tied().value_.shape(); }
  int64_t numel() const { return shape().numel(); }
  DType dtype() const override { return own_or_tied().value_.dtype(); }
  DType grad_dtype() const { return wide_of(dtype()); }
  Device device() const override { return own_or_tied().value_.device(); }
  bool decays() const;  // weight decay applies: not to 1-D tensors

  // The elements of a logical tensor, in its shape, within the value or another tensor of the
  // storage's shape.
  Tensor logical_part(const Tensor& storage, const LogicalTensor& logical) const;

  // Weight
  // With ZeRO this may wait for what other ranks have updated: read values through here only.
  const Tensor& value() const;
  bool trainable() const override { return trainable_; }
  Operand operand(WeightForm form) const override;
  Operand elements() const override { return Operand(value()); }
  void add_gradient(FunctionRef<void(const Tensor&, bool)> write) override;

  void set_trainable(bool trainable) { trainable_ = trainable; }
  void set_gradient_buffers(GradientBuffers* buffers, int index);
  // Moves the value into `storage` [numel], a part of the given bucket, which values now arrive in.
  void move_value(const Tensor& storage, std::shared_ptr<ValueBuckets> arrivals, size_t bucket);
  // After the value was written: drops the prepared forms.
  void bump_version();
  int64_t version() const { return tied_to() ? tied_to()->version_ : version_; }
  // Philox normal values by (seed, logical name, logical index): the same for every layout.
  void initialize(uint64_t seed);
  // The same values for elements [begin, begin + part.numel()) of the storage, into another tensor:
  // a wider master gets them unrounded.
  void write_initial_values(uint64_t seed, int64_t begin, const Tensor& part) const;
  int gradient_index() const { return index_; }  // given by set_gradient_buffers; -1: none

 private:
  const Parameter& own_or_tied() const { return tied_to() ? *tied_to() : *this; }

  Options options_;
  Tensor value_;  // undefined for a tied parameter
  std::shared_ptr<ValueBuckets> arrivals_;
  size_t bucket_ = 0;  // of arrivals_
  bool trainable_ = true;
  int64_t version_ = 0;
  mutable std::array<std::shared_ptr<const Prepared>, 2> prepared_;  // of prepared_version_
  mutable int64_t prepared_version_ = 0;
  GradientBuffers* buffers_ = nullptr;
  int index_ = -1;
};

// The parameters of a model on this rank, in one deterministic order: that of creation.
class ParameterStore {
 public:
  Parameter& add(Parameter::Options options);  // Error(kInternal) on a name used twice
  const std::vector<std::unique_ptr<Parameter>>& all() const { return parameters_; }
  int64_t numel() const;  // elements on this rank, tied ones once
  void initialize(uint64_t seed);

 private:
  std::vector<std::unique_ptr<Parameter>> parameters_;
};

}  // namespace orthant
