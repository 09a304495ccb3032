// SPDX-License-Identifier: Apache-2.0
// What a model computes with: stored tensors, and the places where they are used.
//
// A Parameter is one storage tensor, laid out as kernels want it (q, k, v together; gate and up
// together; experts as [experts, out, in]).  Its table names the logical tensors inside: the hub's
// names, unfused, one per expert, each contiguous in storage.  Initialisation, the gradient norm,
// checkpoints and `verify` loop over logical tensors; optimizer and gradient buckets over storage.
//
// A ParameterUse is what ops see of it.  Most parameters have one; a tied head is a second use of
// the embedding: a tie, whose gradient is accumulated by itself, and added to that of the first use
// once both are reduced.  Gradients go to a GradientSink, which a use has once what trains is
// settled and gradient buffers are made; frozen ones never have any.  They may be held in few bits
// (tensor/ops/quantize.h): then they have no value, and ops get elements that are made for them.
#pragma once

#include <array>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "parallel/logical_tensor.h"
#include "tensor/autograd/weight.h"
#include "tensor/ops/quantize.h"

namespace orthant {

// A parameter that two stages of a pipeline share (parallel/tied_stages.h).  A mirror has a value
// and a gradient of its own, but no logical tensors to others.
enum class Tied { kNo, kOwner, kMirror };

// Which ranks hold the same values of a parameter, add up their gradients of it and share its
// optimizer state: a group of ReplicaGroups (parallel/buckets.h).
enum class Replicas {
  kDense,       // what tensor-parallel ranks cut
  kAlike,       // what tensor-parallel ranks hold whole, each for all rows
  kRows,        // what tensor-parallel ranks hold whole, each for rows of its own
  kKeyValue,    // keys and values of heads that several tensor-parallel ranks have
  kExpert,      // experts
  kExpertRows,  // what expert-tensor ranks hold whole, each for its part of an expert
};

class Parameter {
 public:
  struct Options {
    std::string name;  // of the storage, unique: "model.layers.3.self_attn.qkv"
    Shape shape;
    DType dtype = DType::kF32;
    Device device;
    std::vector<LogicalTensor> logical;
    Replicas replicas = Replicas::kDense;
    Tied tied = Tied::kNo;
    bool trainable = true;
    double rate = 1.0;                                // its learning rate over the optimizer's
    Quantization quantization = Quantization::kNone;  // of matrices, which must not train
  };
  explicit Parameter(Options options);
  Parameter(const Parameter&) = delete;
  Parameter& operator=(const Parameter&) = delete;

  const std::string& name() const { return options_.name; }
  Replicas replicas() const { return options_.replicas; }
  Tied tied() const { return options_.tied; }
  bool is_mirror() const { return tied() == Tied::kMirror; }
  bool trainable() const { return options_.trainable; }  // see ParameterStore::freeze
  // Of what this rank answers for: none of a mirror.
  const std::vector<LogicalTensor>& logical() const;
  // Of the storage, whoever answers for it.
  const std::vector<LogicalTensor>& table() const { return options_.logical; }
  const Shape& shape() const { return options_.shape; }
  int64_t numel() const { return shape().numel(); }
  DType dtype() const { return options_.dtype; }
  DType grad_dtype() const { return wide_of(dtype()); }
  Device device() const { return options_.device; }
  double rate() const { return options_.rate; }
  bool decays() const;  // weight decay applies: not to 1-D tensors

  // The elements of a logical tensor, in its shape, within the value or another tensor of the
  // storage's shape.
  Tensor logical_part(const Tensor& storage, const LogicalTensor& logical) const;

  // With ZeRO this may wait for what other ranks have updated: read values through here only.  Not
  // of what is quantised.
  const Tensor& value() const;
  // The value; where it is quantised, what that stands for.
  Tensor elements() const;
  // The elements, with a prepared form of the value that is kept until it changes.
  Operand operand(WeightForm form) const;

  Quantization quantization() const { return options_.quantization; }
  bool is_quantized() const { return quantization() != Quantization::kNone; }
  // By logical tensor, in the order of table().
  const std::vector<QuantizedMatrix>& quantized() const { return quantized_; }
  // Takes this rank's part of the logical tensor at that place of table(), which is given whole, on
  // the host.
  void quantize(size_t place, const Tensor& whole) const;
  // After the value was written: drops the prepared forms, and counts.
  void value_changed();
  int64_t version() const { return version_; }
  // Moves the value into `storage` [numel].  From then on arrive() is called by who reads it: it
  // waits until the value is there.
  void move_value(const Tensor& storage, std::function<void()> arrive);
  // fill_initial of all logical tensors.
  void initialize(uint64_t seed);
  // The same values for elements [begin, begin + part.numel()) of the storage, into another tensor:
  // a wider master gets them unrounded.
  void write_initial_values(uint64_t seed, int64_t begin, const Tensor& part) const;

 private:
  friend class ParameterStore;  // freezes

  Options options_;
  Tensor value_;                            // undefined where it is quantised
  std::vector<QuantizedMatrix> quantized_;  // empty where it is not
  int64_t version_ = 0;
  std::function<void()> arrive_;  // may be empty
  mutable std::array<std::shared_ptr<const Prepared>, 2> prepared_;
};

// Takes the gradients of one use of a parameter, see Weight::add_gradient.
class GradientSink {
 public:
  virtual ~GradientSink() = default;
  virtual void add(FunctionRef<void(const Tensor& buffer, bool accumulate)> write) = 0;
};

class ParameterUse final : public Weight {
 public:
  ParameterUse(std::string name, Parameter& parameter, bool is_tie)
      : name_(std::move(name)), parameter_(parameter), is_tie_(is_tie) {}

  const std::string& name() const { return name_; }  // of a tie: its own
  Parameter& parameter() const { return parameter_; }
  bool is_tie() const { return is_tie_; }
  // Of what this use answers for: none of a tie.
  const std::vector<LogicalTensor>& logical() const;
  // Null: gradients are not wanted any more.
  void attach(GradientSink* sink) { sink_ = sink; }
  bool has_sink() const { return sink_ != nullptr; }

  Shape shape() const override { return parameter_.shape(); }
  DType dtype() const override { return parameter_.dtype(); }
  Device device() const override { return parameter_.device(); }
  bool trainable() const override { return parameter_.trainable(); }
  Operand operand(WeightForm form) const override { return parameter_.operand(form); }
  Operand elements() const override { return Operand(parameter_.elements()); }
  void add_gradient(FunctionRef<void(const Tensor&, bool)> write) override;

 private:
  std::string name_;
  Parameter& parameter_;
  bool is_tie_;
  GradientSink* sink_ = nullptr;
};

}  // namespace orthant
