// SPDX-License-Identifier: Apache-2.0
#include "tensor/autograd/var.h"

#include <algorithm>
#include <unordered_set>

#include "base/error.h"
#include "tensor/ops/elementwise.h"

namespace orthant {

struct Node {
  const char* op = "leaf";
  std::vector<std::shared_ptr<Node>> inputs;  // null where no gradient is wanted
  BackwardFn backward;                        // empty for a leaf
  Tensor grad;
  uint64_t sequence = 0;  // in order of creation: inputs have lower numbers
};

namespace {

// What the calling thread is doing.
struct ThreadState {
  bool grad_enabled = true;
  bool recomputing = false;
  bool met_weights = false;  // an op that was run has a weight that trains
  uint64_t next_sequence = 1;
  WeightGradQueue* queue = nullptr;
  const std::function<void()>* between = nullptr;
  RemakeScope* remakes = nullptr;
};
thread_local ThreadState state;

template <class T>
class Restore {
 public:
  Restore(T& place, T value) : place_(place), previous_(place) { place = value; }
  ~Restore() { place_ = previous_; }
  Restore(const Restore&) = delete;
  Restore& operator=(const Restore&) = delete;

 private:
  T& place_;
  T previous_;
};

void between_ops() {
  if (state.between) (*state.between)();
}

void add_grad(Node& node, const Tensor& grad) {
  if (!node.grad.defined()) {
    node.grad = grad;
  } else {
    const Tensor sum = node.grad.is_unique() ? node.grad : Tensor::like(node.grad);
    ops::add(node.grad, grad, sum);
    node.grad = sum;
  }
}

std::vector<std::shared_ptr<Node>> reachable_latest_first(const std::shared_ptr<Node>& from) {
  std::vector<std::shared_ptr<Node>> found = {from};
  std::unordered_set<const Node*> seen = {from.get()};
  for (size_t i = 0; i < found.size(); ++i) {
    const std::vector<std::shared_ptr<Node>>& inputs = found[i]->inputs;
    for (const auto& input : inputs) {
      if (input && seen.insert(input.get()).second) found.push_back(input);
    }
  }
  std::sort(found.begin(), found.end(),
            [](const auto& a, const auto& b) { return a->sequence > b->sequence; });
  return found;
}

}  // namespace

Var Var::leaf(Tensor value) {
  Var var(std::move(value));
  var.node_ = std::make_shared<Node>();
  var.node_->sequence = state.next_sequence++;
  return var;
}

const Tensor& Var::grad() const {
  ORTHANT_CHECK(node_ && !node_->backward, kInternal, "grad: only a leaf keeps its gradient");
  return node_->grad;
}

Var record(const char* op, std::vector<Var> inputs, Tensor value, BackwardFn backward,
           bool has_weights) {
  between_ops();
  state.met_weights |= has_weights;
  Var result(std::move(value));
  const bool wanted = has_weights || std::any_of(inputs.begin(), inputs.end(),
                                                 [](const Var& v) { return v.needs_grad(); });
  if (!wanted || !state.grad_enabled) return result;
  auto node = std::make_shared<Node>();
  node->op = op;
  for (const Var& input : inputs) node->inputs.push_back(input.node());
  node->backward = std::move(backward);
  node->sequence = state.next_sequence++;
  result.node_ = std::move(node);
  return result;
}

void WeightGradQueue::run() {
  std::vector<std::function<void()>> work;
  work.swap(work_);
  for (auto& item : work) {
    item();
    item = nullptr;  // frees what it captured
    between_ops();
  }
}

void backward(const Var& y, const Tensor& dy, WeightGradQueue* queue) {
  ORTHANT_CHECK(y.needs_grad(), kInternal,
                "backward: the result depends on nothing that has a gradient");
  ORTHANT_CHECK(dy.shape() == y.value().shape(), kInternal, "backward: want a gradient ",
                y.value().shape().text(), ", got ", describe(dy));
  const Restore keep_queue(state.queue, queue);
  std::vector<std::shared_ptr<Node>> nodes = reachable_latest_first(y.node());
  add_grad(*y.node(), dy);
  for (auto& node : nodes) {
    if (!node->backward || !node->grad.defined()) continue;
    Grads grads;
    {
      const BackwardFn closure = std::move(node->backward);
      node->backward = nullptr;
      const Tensor grad = std::move(node->grad);
      node->grad = Tensor();
      grads = closure(grad);
    }
    ORTHANT_CHECK(grads.size() == node->inputs.size(), kInternal, node->op, " backward: want ",
                  node->inputs.size(), " gradients, got ", grads.size());
    for (size_t i = 0; i < grads.size(); ++i) {
      if (node->inputs[i] && grads[i].defined()) add_grad(*node->inputs[i], grads[i]);
      grads[i] = Tensor();
    }
    node->inputs.clear();
    node.reset();
    between_ops();
  }
}

void weight_grad(std::function<void()> work) {
  if (state.queue) {
    state.queue->push(std::move(work));
  } else {
    work();
  }
}

Var recompute(std::function<Var(const Var&)> f, const Var& x) {
  Tensor y;
  bool has_weights = false;
  {
    const NoGradScope no_grad;
    const Restore met_weights(state.met_weights, false);
    y = f(Var(x.value())).value();
    has_weights = state.met_weights;
  }
  return record(
      "recompute", {x}, y,
      [f = std::move(f), value = x.value(), wanted = x.needs_grad()](const Tensor& dy) -> Grads {
        const Restore recomputing(state.recomputing, true);
        const Restore enabled(state.grad_enabled, true);
        const Var leaf = wanted ? Var::leaf(value) : Var(value);
        const Var again = f(leaf);
        backward(again, dy, state.queue);
        return {wanted ? leaf.grad() : Tensor()};
      },
      has_weights);
}

Var remake(std::function<Var(const Var&)> f, const Var& x) {
  const Var y = f(x);
  const bool is_new = !y.value().shares_storage_with(x.value());
  if (state.remakes && y.needs_grad() && is_new) {
    const auto make = [f = std::move(f), value = x.value()] {
      const NoGradScope no_grad;
      return f(Var(value)).value();
    };
    state.remakes->remade_.push_back({y.value(), make});
  }
  return y;
}

RemakeScope::RemakeScope() : outer_(state.remakes) { state.remakes = this; }
RemakeScope::~RemakeScope() {
  state.remakes = outer_;
  for (Remade& remade : remade_)
    if (!remade.value.is_unique()) remade.value.discard(std::move(remade.make));
}

BetweenOpsScope::BetweenOpsScope(std::function<void()> f)
    : f_(std::move(f)), outer_(state.between) {
  state.between = &f_;
}
BetweenOpsScope::~BetweenOpsScope() { state.between = outer_; }

bool is_recomputing() { return state.recomputing; }
NoGradScope::NoGradScope() : previous_(state.grad_enabled) { state.grad_enabled = false; }
NoGradScope::~NoGradScope() { state.grad_enabled = previous_; }
bool grad_enabled() { return state.grad_enabled; }

}  // namespace orthant
