// SPDX-License-Identifier: Apache-2.0
// Reverse-mode differentiation.
//
// A Var is a tensor with, where a gradient is wanted, a node of the tape.  An op is a forward call
// and a closure that returns the gradients of its inputs; what the closure captures is what memory
// keeps until it has run.  A tape belongs to one micro-batch (and pipeline stage): it is the set of
// nodes reachable from what backward() is called on, and is freed node by node while backward runs.
// Not thread-safe: a tape is made and used by one thread.
#pragma once

#include <functional>
#include <memory>
#include <vector>

#include "base/function_ref.h"
#include "tensor/tensor.h"

namespace orthant {

// Gradients of an op's inputs, in their order; undefined where none flows.
using Grads = std::vector<Tensor>;
using BackwardFn = std::function<Grads(const Tensor& dy)>;

struct Node;

class Var {
 public:
  Var() = default;
  explicit Var(Tensor value) : value_(std::move(value)) {}  // a constant
  // An input whose gradient is kept: read it with grad() after backward().
  static Var leaf(Tensor value);

  const Tensor& value() const { return value_; }
  bool defined() const { return value_.defined(); }
  bool needs_grad() const { return node_ != nullptr; }
  const Tensor& grad() const;  // of a leaf; undefined before backward() or when nothing flowed
  const std::shared_ptr<Node>& node() const { return node_; }

 private:
  friend Var record(const char*, std::vector<Var>, Tensor, BackwardFn, bool);
  Tensor value_;
  std::shared_ptr<Node> node_;
};

// The result of an op.  Without a wanted gradient (no input needs one and `has_weights` is false,
// or under NoGradScope) the closure is dropped at once.
Var record(const char* op, std::vector<Var> inputs, Tensor value, BackwardFn backward,
           bool has_weights = false);

// Weight-gradient work put off by a backward pass: local products only, never a collective.
class WeightGradQueue {
 public:
  void push(std::function<void()> work) { work_.push_back(std::move(work)); }
  bool empty() const { return work_.empty(); }
  void run();  // in the order of pushing

 private:
  std::vector<std::function<void()>> work_;
};

// Runs the closures from y back to the leaves.  dy has y's shape.  With a queue, weight gradients
// are put there.
void backward(const Var& y, const Tensor& dy, WeightGradQueue* queue = nullptr);

// For closures: runs `work` now, or puts it into the queue of the backward pass that is running.
void weight_grad(std::function<void()> work);

// y = f(x), keeping only x: f runs again, with a tape, when backward arrives.
Var recompute(std::function<Var(const Var&)> f, const Var& x);
// True while recompute() runs f for the second time: counters and logs of the first time must not
// count again.
bool is_recomputing();

// y = f(x), for a cheap f without collectives.  In a RemakeScope y's memory is given back when the
// scope ends, and f runs again when a closure of backward reads y.  x should be what a closure
// keeps anyway.  Not for what attention() takes: it remembers addresses.
Var remake(std::function<Var(const Var&)> f, const Var& x);
class RemakeScope {
 public:
  RemakeScope();
  ~RemakeScope();
  RemakeScope(const RemakeScope&) = delete;
  RemakeScope& operator=(const RemakeScope&) = delete;

 private:
  struct Remade {
    Tensor value;
    std::function<Tensor()> make;
  };
  friend Var remake(std::function<Var(const Var&)> f, const Var& x);

  std::vector<Remade> remade_;
  RemakeScope* outer_;
};

// Until the scope ends `f` is called after each op, each closure of backward and each weight
// gradient put off: messages under way are moved there, since MPI moves them only inside its calls.
class BetweenOpsScope {
 public:
  explicit BetweenOpsScope(std::function<void()> f);
  ~BetweenOpsScope();
  BetweenOpsScope(const BetweenOpsScope&) = delete;
  BetweenOpsScope& operator=(const BetweenOpsScope&) = delete;

 private:
  std::function<void()> f_;
  const std::function<void()>* outer_;
};

class NoGradScope {
 public:
  NoGradScope();
  ~NoGradScope();
  NoGradScope(const NoGradScope&) = delete;
  NoGradScope& operator=(const NoGradScope&) = delete;

 private:
  bool previous_;
};
bool grad_enabled();

}  // namespace orthant
