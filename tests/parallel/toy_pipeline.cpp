// SPDX-License-Identifier: Apache-2.0
#include "tests/parallel/toy_pipeline.h"

#include <cmath>
#include <map>
#include <vector>

#include "base/error.h"

namespace orthant::pipeline {
namespace {

using Values = std::vector<double>;

// A stage with one weight a: y = a x + x^2 / 2 for each element.  The sum of weight gradients
// depends on their order.
struct ToyStage {
  double weight = 1, weight_grad = 0;
  std::map<int, Values> inputs;  // by micro-batch

  Values forward(int m, Values x) {
    inputs[m] = x;
    for (double& value : x) value = weight * value + value * value / 2;
    return x;
  }
  Values backward_input(int m, Values dy) const {
    for (size_t i = 0; i < dy.size(); ++i) dy[i] *= weight + inputs.at(m)[i];
    return dy;
  }
  void backward_weight(int m, const Values& dy) {
    for (size_t i = 0; i < dy.size(); ++i)
      weight_grad = 0.9 * weight_grad + dy[i] * inputs.at(m)[i];
    inputs.erase(m);
  }
};

ToyStage toy_stage(int stage) { return {.weight = 0.5 + 0.01 * stage}; }

Values sample(int m, int64_t width) {
  Values x(static_cast<size_t>(width));
  for (size_t i = 0; i < x.size(); ++i) x[i] = 0.1 + 0.01 * m + 0.02 * static_cast<double>(i % 7);
  return x;
}

Values loss_grad(Values y) {
  for (double& value : y) value = std::cos(value);
  return y;
}

// Gradients of all stages' weights and of all inputs.
struct Result {
  std::map<int, double> weight_grads;  // by stage
  std::map<int, Values> input_grads;   // by micro-batch
};

Result run_loop(int stages, int micro_batches, int64_t width) {
  std::vector<ToyStage> model;
  for (int s = 0; s < stages; ++s) model.push_back(toy_stage(s));
  Result result;
  for (int m = 0; m < micro_batches; ++m) {
    Values x = sample(m, width);
    for (ToyStage& stage : model) x = stage.forward(m, x);
    Values dy = loss_grad(x);
    for (auto stage = model.rbegin(); stage != model.rend(); ++stage) {
      const Values dx = stage->backward_input(m, dy);
      stage->backward_weight(m, dy);
      dy = dx;
    }
    result.input_grads[m] = dy;
  }
  for (int s = 0; s < stages; ++s)
    result.weight_grads[s] = model[static_cast<size_t>(s)].weight_grad;
  return result;
}

// One rank's stages.
class ToyModel {
 public:
  ToyModel(const Schedule& schedule, int rank, int64_t width)
      : last_(schedule.stages() - 1), width_(width) {
    for (int s = 0; s <= last_; ++s)
      if (schedule.rank(s) == rank) model_[s] = toy_stage(s);
  }

  StageFunctions functions() {
    return {.forward = [this](int stage, int m, const Tensor& x) { return forward(stage, m, x); },
            .backward = [this](int stage, int m, const Tensor& dy,
                               WeightGradQueue* queue) { return backward(stage, m, dy, queue); },
            .input_like =
                [this](int, int) {
                  return Tensor::empty({1, width_}, DType::kF64);
                }};
  }

  Result result() const {
    Result result{.input_grads = input_grads_};
    for (const auto& [stage, model] : model_) {
      ORTHANT_CHECK(model.inputs.empty(), kInternal, "toy: a weight gradient is missing");
      result.weight_grads[stage] = model.weight_grad;
    }
    return result;
  }

 private:
  Tensor tensor_of(const Values& values) const {
    return Tensor::from({1, width_}, values, DType::kF64);
  }

  Tensor forward(int stage, int m, const Tensor& x) {
    ORTHANT_CHECK(x.defined() == (stage > 0), kInternal, "toy: input of stage ", stage);
    const Values y = model_.at(stage).forward(m, stage == 0 ? sample(m, width_) : x.to_doubles());
    if (stage == last_) outputs_[m] = y;
    return tensor_of(y);
  }

  Tensor backward(int stage, int m, const Tensor& above, WeightGradQueue* queue) {
    ORTHANT_CHECK(above.defined() == (stage < last_), kInternal, "toy: gradient of stage ", stage);
    const Values dy = stage == last_ ? loss_grad(outputs_.at(m)) : above.to_doubles();
    const Values dx = model_.at(stage).backward_input(m, dy);
    const auto by_weight = [this, stage, m, dy] { model_.at(stage).backward_weight(m, dy); };
    if (queue)
      queue->push(by_weight);
    else
      by_weight();
    if (stage == 0) input_grads_[m] = dx;
    return tensor_of(dx);
  }

  int last_;
  int64_t width_;
  std::map<int, ToyStage> model_;      // by stage
  std::map<int, Values> outputs_;      // by micro-batch, of the last stage
  std::map<int, Values> input_grads_;  // by micro-batch, of stage 0
};

}  // namespace

std::string run_toy_pipeline(const Group& world, const Schedule& schedule, int64_t width) {
  const PipelineGroups groups = make_pipeline_groups(world, schedule);
  ToyModel model(schedule, world.rank(), width);
  const StageFunctions functions = model.functions();
  const std::vector<Span> spans = run_schedule(schedule, groups, functions);
  const Timeline timeline = gather_timeline(world, schedule, spans);
  const std::string what = concat(schedule.name, ", ", schedule.ranks, " ranks, ",
                                  schedule.micro_batches, " micro-batches: ");
  const Result result = model.result();
  const Result want = run_loop(schedule.stages(), schedule.micro_batches, width);
  for (const auto& [stage, grad] : result.weight_grads)
    if (grad != want.weight_grads.at(stage)) return concat(what, "weight gradient of ", stage);
  for (const auto& [m, grad] : result.input_grads)
    if (grad != want.input_grads.at(m)) return concat(what, "input gradient of micro-batch ", m);
  for (size_t rank = 0; rank < timeline.ranks.size(); ++rank) {
    if (timeline.ranks[rank].size() != schedule.programs[rank].size()) return what + "spans";
    for (const Span& span : timeline.ranks[rank])
      if (!(span.start <= span.end)) return concat(what, text_of(span.action), " ends too early");
  }
  return "";
}

}  // namespace orthant::pipeline
