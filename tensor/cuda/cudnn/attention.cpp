// SPDX-License-Identifier: Apache-2.0
#include "tensor/cuda/cudnn/attention.h"

#include <array>
#include <deque>

#include "tensor/cuda/cudnn/plan.h"
#include "tensor/cuda/cudnn/plan_cache.h"
#include "tensor/cuda/device.h"

namespace orthant::cuda::cudnn {
namespace {

int (*plain_attention)(const BackendCall*, const AttentionArgs*) = nullptr;
int (*plain_attention_grad)(const BackendCall*, const AttentionGradArgs*) = nullptr;

// A handle has one stream: it is set and used under the lock.
struct Handle {
  std::mutex mutex;
  cudnnHandle_t value = nullptr;
};
Handle& handle_of_device() {
  static auto* handles = new std::array<Handle, kMaxDevices>;  // threads may outlive main
  return (*handles)[static_cast<size_t>(current_device())];
}
cudnnHandle_t ready(Handle& handle) {
  if (!handle.value) check(cudnnCreate(&handle.value), "cudnnCreate");
  return handle.value;
}

// Null when cuDNN has no engine for the problem on this device.
std::shared_ptr<const Plan> plan_of(const AttentionProblem& problem) {
  static auto* cache = new PlanCache<Plan>;
  return cache->get(current_device(), problem, [&]() -> std::shared_ptr<const Plan> {
    Handle& handle = handle_of_device();
    const std::lock_guard lock(handle.mutex);
    const Target target{.handle = ready(handle)};
    try {
      return std::make_shared<const Plan>(
          problem.backward ? backward_graph(problem) : forward_graph(problem), target);
    } catch (const CudnnError& error) {
      log_line("cuDNN does not compute " + text_of(problem) + " on cuda:" +
               std::to_string(current_device()) + ", plain kernels do: " + error.what());
      return nullptr;
    }
  });
}

// Where the call's tensors begin.  Null: memory is lent for each part.
void* begin_of(Place place, const AttentionArgs& args, const AttentionGradArgs* grads) {
  switch (place) {
    case Place::kQ:
      return args.q.data;
    case Place::kK:
      return args.k.data;
    case Place::kV:
      return args.v.data;
    case Place::kO:
      return args.o.data;
    case Place::kLse:
      return args.lse.data;
    case Place::kDocStart:
      return args.doc_start.data;
    case Place::kDo:
      return grads->do_.data;
    case Place::kDq:
      return grads->dq.data;
    case Place::kDk:
      return grads->dk.data;
    case Place::kDv:
      return grads->dv.data;
    default:
      return nullptr;
  }
}

int64_t bytes_of(Element element) { return element == Element::kBF16 ? 2 : 4; }

// A plan's run on all parts of a call, one behind the other in the order of the stream.
class Run {
 public:
  Run(const BackendCall* call, const char* op, const Plan& plan, const AttentionArgs& args,
      const AttentionGradArgs* grads)
      : call_(call), op_(op), plan_(plan), args_(args), grads_(grads) {
    scale_ = static_cast<float>(args.scale);
  }
  int start(const AttentionProblem& whole, const Part& part) {
    stream_ = stream_of(call_, op_);
    if (!stream_) return 1;
    CUDA_TRY(lend());
    Temporary workspace;
    CUDA_TRY(workspace.allocate(call_, op_, plan_.workspace_bytes()));
    for (int64_t b = 0; b < whole.batch; b += part.batch)
      for (int64_t h = 0; h < whole.kv_heads; h += part.kv_heads)
        execute(b, h, whole.group(), workspace.as<void>());
    if (is_synchronous()) CUDA_CHECK(call_, op_, cudaStreamSynchronize(stream_));
    return 0;
  }

 private:
  // Memory that the call does not bring.
  int lend() {
    for (const GraphTensor& tensor : plan_.graph().tensors) {
      void* begin = begin_of(tensor.place, args_, grads_);
      if (is_number(tensor.place)) {
        begin = tensor.place == Place::kScale ? &scale_
                : tensor.place == Place::kOne ? &one_
                                              : &masked_;
      } else if (tensor.place != Place::kInside && !begin) {
        Temporary& block = lent_.emplace_back();
        CUDA_TRY(block.allocate(call_, op_, extent_of(tensor) * bytes_of(tensor.element)));
        begin = block.as<void>();
      }
      begins_.push_back(begin);
    }
    return 0;
  }
  void execute(int64_t sequence, int64_t kv_head, int64_t group, void* workspace) const {
    std::vector<void*> memory;
    for (size_t i = 0; i < begins_.size(); ++i) {
      const GraphTensor& tensor = plan_.graph().tensors[i];
      const int64_t offset = begins_[i] ? offset_of(tensor, sequence, kv_head, group) : 0;
      memory.push_back(static_cast<char*>(begins_[i]) + offset * bytes_of(tensor.element));
    }
    Handle& handle = handle_of_device();
    const std::lock_guard lock(handle.mutex);
    check(cudnnSetStream(ready(handle), stream_), "cudnnSetStream");
    plan_.execute(handle.value, memory, workspace);
  }

  const BackendCall* call_;
  const char* op_;
  const Plan& plan_;
  const AttentionArgs& args_;
  const AttentionGradArgs* grads_;
  cudaStream_t stream_ = nullptr;
  float scale_ = 1, one_ = 1, masked_ = kMaskedScore;
  std::deque<Temporary> lent_;
  std::vector<void*> begins_;  // of the graph's tensors, for the first part
};

int attention(const BackendCall* call, const AttentionArgs* args) {
  if (why_plain(*args)) return plain_attention(call, args);
  const AttentionProblem whole = problem_of(*args);
  const std::shared_ptr<const Plan> plan = plan_of(whole);
  if (!plan) return plain_attention(call, args);
  return Run(call, "attention", *plan, *args, nullptr).start(whole, part_of(whole));
}

int attention_grad(const BackendCall* call, const AttentionGradArgs* args) {
  if (why_plain(*args)) return plain_attention_grad(call, args);
  const AttentionProblem whole = problem_of(*args, call->any_order != 0);
  const Part part = part_of(whole);
  if (part.batch == 0) return plain_attention_grad(call, args);
  const std::shared_ptr<const Plan> plan = plan_of(problem_of(whole, part));
  if (!plan) return plain_attention_grad(call, args);
  return Run(call, "attention_grad", *plan, args->forward, args).start(whole, part);
}

}  // namespace

void fill_attention(Backend& table) {
  plain_attention = table.attention;
  plain_attention_grad = table.attention_grad;
  table.attention = attention;
  table.attention_grad = attention_grad;
}

}  // namespace orthant::cuda::cudnn
