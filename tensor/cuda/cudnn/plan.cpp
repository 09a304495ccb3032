// SPDX-License-Identifier: Apache-2.0
#include "tensor/cuda/cudnn/plan.h"

#include <algorithm>

namespace orthant::cuda::cudnn {
namespace {

constexpr int64_t kAlignBytes = 16;  // problem.cpp sees to it
constexpr int64_t kMaxConfigs = 8;   // engines that are tried before a graph counts as refused

cudnnDataType_t type_of(Element element) {
  switch (element) {
    case Element::kBF16:
      return CUDNN_DATA_BFLOAT16;
    case Element::kF32:
      return CUDNN_DATA_FLOAT;
    case Element::kI32:
      return CUDNN_DATA_INT32;
    case Element::kBool:
      break;
  }
  return CUDNN_DATA_BOOLEAN;
}

int64_t id_of(size_t tensor) { return static_cast<int64_t>(tensor) + 1; }

Descriptor tensor_descriptor(const GraphTensor& tensor, int64_t id) {
  Descriptor d(CUDNN_BACKEND_TENSOR_DESCRIPTOR);
  d.set(CUDNN_ATTR_TENSOR_UNIQUE_ID, id)
      .set(CUDNN_ATTR_TENSOR_DATA_TYPE, type_of(tensor.element))
      .set(CUDNN_ATTR_TENSOR_DIMENSIONS, CUDNN_TYPE_INT64, 4, tensor.dims.data())
      .set(CUDNN_ATTR_TENSOR_STRIDES, CUDNN_TYPE_INT64, 4, tensor.strides.data());
  if (is_number(tensor.place)) {
    d.set(CUDNN_ATTR_TENSOR_IS_BY_VALUE, true).set(CUDNN_ATTR_TENSOR_BYTE_ALIGNMENT, int64_t{4});
  } else {
    const bool has_own_memory = tensor.element == Element::kBF16 || tensor.place == Place::kDqSum;
    d.set(CUDNN_ATTR_TENSOR_BYTE_ALIGNMENT, has_own_memory ? kAlignBytes : int64_t{4});
  }
  if (tensor.place == Place::kInside) d.set(CUDNN_ATTR_TENSOR_IS_VIRTUAL, true);
  d.finalize("tensor");
  return d;
}

Descriptor matmul(const Descriptor& x, const Descriptor& b, const Descriptor& y) {
  Descriptor kind(CUDNN_BACKEND_MATMUL_DESCRIPTOR);
  kind.set(CUDNN_ATTR_MATMUL_COMP_TYPE, CUDNN_DATA_FLOAT).finalize("matmul");
  Descriptor d(CUDNN_BACKEND_OPERATION_MATMUL_DESCRIPTOR);
  d.set(CUDNN_ATTR_OPERATION_MATMUL_ADESC, x)
      .set(CUDNN_ATTR_OPERATION_MATMUL_BDESC, b)
      .set(CUDNN_ATTR_OPERATION_MATMUL_CDESC, y)
      .set(CUDNN_ATTR_OPERATION_MATMUL_DESC, kind)
      .finalize("matmul operation");
  return d;
}

Descriptor reduction(cudnnReduceTensorOp_t mode, const Descriptor& x, const Descriptor& y) {
  Descriptor kind(CUDNN_BACKEND_REDUCTION_DESCRIPTOR);
  kind.set(CUDNN_ATTR_REDUCTION_OPERATOR, CUDNN_TYPE_REDUCTION_OPERATOR_TYPE, 1, &mode)
      .set(CUDNN_ATTR_REDUCTION_COMP_TYPE, CUDNN_DATA_FLOAT)
      .finalize("reduction");
  Descriptor d(CUDNN_BACKEND_OPERATION_REDUCTION_DESCRIPTOR);
  d.set(CUDNN_ATTR_OPERATION_REDUCTION_XDESC, x)
      .set(CUDNN_ATTR_OPERATION_REDUCTION_YDESC, y)
      .set(CUDNN_ATTR_OPERATION_REDUCTION_DESC, kind)
      .finalize("reduction operation");
  return d;
}

Descriptor reshape(const Descriptor& x, const Descriptor& y) {
  Descriptor d(CUDNN_BACKEND_OPERATION_RESHAPE_DESCRIPTOR);
  d.set(CUDNN_ATTR_OPERATION_RESHAPE_XDESC, x)
      .set(CUDNN_ATTR_OPERATION_RESHAPE_YDESC, y)
      .finalize("reshape operation");
  return d;
}

cudnnPointwiseMode_t pointwise_mode(Op op) {
  switch (op) {
    case Op::kMultiply:
      return CUDNN_POINTWISE_MUL;
    case Op::kAdd:
      return CUDNN_POINTWISE_ADD;
    case Op::kSubtract:
      return CUDNN_POINTWISE_SUB;
    case Op::kDivide:
      return CUDNN_POINTWISE_DIV;
    case Op::kExp:
      return CUDNN_POINTWISE_EXP;
    case Op::kLog:
      return CUDNN_POINTWISE_LOG;
    case Op::kIdentity:
      return CUDNN_POINTWISE_IDENTITY;
    case Op::kIndex:
      return CUDNN_POINTWISE_GEN_INDEX;
    case Op::kGreaterEqual:
      return CUDNN_POINTWISE_CMP_GE;
    case Op::kSelect:
      return CUDNN_POINTWISE_BINARY_SELECT;
    default:
      throw CudnnError("not a pointwise operation");
  }
}

Descriptor pointwise(const GraphNode& node, const std::vector<Descriptor>& tensors) {
  const auto at = [&](int index) -> const Descriptor& {
    return tensors[static_cast<size_t>(index)];
  };
  const cudnnPointwiseMode_t mode = pointwise_mode(node.op);
  Descriptor kind(CUDNN_BACKEND_POINTWISE_DESCRIPTOR);
  kind.set(CUDNN_ATTR_POINTWISE_MODE, CUDNN_TYPE_POINTWISE_MODE, 1, &mode)
      .set(CUDNN_ATTR_POINTWISE_MATH_PREC,
           node.op == Op::kGreaterEqual ? CUDNN_DATA_BOOLEAN : CUDNN_DATA_FLOAT);
  if (node.axis >= 0) kind.set(CUDNN_ATTR_POINTWISE_AXIS, int64_t{node.axis});
  kind.finalize("pointwise");
  Descriptor d(CUDNN_BACKEND_OPERATION_POINTWISE_DESCRIPTOR);
  d.set(CUDNN_ATTR_OPERATION_POINTWISE_PW_DESCRIPTOR, kind)
      .set(CUDNN_ATTR_OPERATION_POINTWISE_XDESC, at(node.x))
      .set(CUDNN_ATTR_OPERATION_POINTWISE_YDESC, at(node.y));
  if (node.b >= 0) d.set(CUDNN_ATTR_OPERATION_POINTWISE_BDESC, at(node.b));
  if (node.mask >= 0) d.set(CUDNN_ATTR_OPERATION_POINTWISE_TDESC, at(node.mask));
  d.finalize("pointwise operation");
  return d;
}

Descriptor operation(const GraphNode& node, const std::vector<Descriptor>& tensors) {
  const Descriptor& x = tensors[static_cast<size_t>(node.x)];
  const Descriptor& y = tensors[static_cast<size_t>(node.y)];
  switch (node.op) {
    case Op::kMatmul:
      return matmul(x, tensors[static_cast<size_t>(node.b)], y);
    case Op::kReduceMax:
      return reduction(CUDNN_REDUCE_TENSOR_MAX, x, y);
    case Op::kReduceSum:
      return reduction(CUDNN_REDUCE_TENSOR_ADD, x, y);
    case Op::kReshape:
      return reshape(x, y);
    default:
      return pointwise(node, tensors);
  }
}

// Engines that may take the graph, best first.
std::vector<Descriptor> configs_of(const Descriptor& graph, const Target& target,
                                   cudnnBackendHeurMode_t mode) {
  Descriptor heuristics(CUDNN_BACKEND_ENGINEHEUR_DESCRIPTOR);
  heuristics.set(CUDNN_ATTR_ENGINEHEUR_OPERATION_GRAPH, graph)
      .set(CUDNN_ATTR_ENGINEHEUR_MODE, CUDNN_TYPE_HEUR_MODE, 1, &mode);
  if (target.device) heuristics.set(CUDNN_ATTR_ENGINEHEUR_DEVICEPROP, *target.device);
  heuristics.finalize("engine heuristics");
  std::vector<Descriptor> configs;
  std::vector<cudnnBackendDescriptor_t> handles;
  for (int64_t i = 0; i < kMaxConfigs; ++i) {
    configs.emplace_back(CUDNN_BACKEND_ENGINECFG_DESCRIPTOR);
    handles.push_back(configs.back().get());
  }
  const int64_t count = heuristics.get(CUDNN_ATTR_ENGINEHEUR_RESULTS, CUDNN_TYPE_BACKEND_DESCRIPTOR,
                                       kMaxConfigs, handles.data());
  configs.resize(static_cast<size_t>(std::min(count, kMaxConfigs)));
  return configs;
}

Descriptor plan_of(const Descriptor& config, const Target& target) {
  Descriptor plan(CUDNN_BACKEND_EXECUTION_PLAN_DESCRIPTOR);
  plan.set(CUDNN_ATTR_EXECUTION_PLAN_ENGINE_CONFIG, config);
  if (target.handle)
    plan.set(CUDNN_ATTR_EXECUTION_PLAN_HANDLE, CUDNN_TYPE_HANDLE, 1, &target.handle);
  if (target.device) plan.set(CUDNN_ATTR_EXECUTION_PLAN_DEVICEPROP, *target.device);
  plan.finalize("execution plan");
  return plan;
}

// The first engine's plan that can be made.
Descriptor first_plan(const Descriptor& graph, const Target& target) {
  std::string why = "no engine for this graph and device";
  for (const cudnnBackendHeurMode_t mode : {CUDNN_HEUR_MODE_A, CUDNN_HEUR_MODE_FALLBACK}) {
    try {
      for (const Descriptor& config : configs_of(graph, target, mode)) {
        try {
          return plan_of(config, target);
        } catch (const CudnnError& error) {
          why = error.what();
        }
      }
    } catch (const CudnnError& error) {
      why = error.what();
    }
  }
  throw CudnnError(why);
}

}  // namespace

Descriptor operation_graph(const Graph& graph, cudnnHandle_t handle) {
  std::vector<Descriptor> tensors, operations;
  for (size_t i = 0; i < graph.tensors.size(); ++i)
    tensors.push_back(tensor_descriptor(graph.tensors[i], id_of(i)));
  for (const GraphNode& node : graph.nodes) operations.push_back(operation(node, tensors));
  Descriptor d(CUDNN_BACKEND_OPERATIONGRAPH_DESCRIPTOR);
  d.set(CUDNN_ATTR_OPERATIONGRAPH_OPS, operations);
  if (handle) d.set(CUDNN_ATTR_OPERATIONGRAPH_HANDLE, CUDNN_TYPE_HANDLE, 1, &handle);
  d.finalize("operation graph");
  return d;
}

Plan::Plan(Graph graph, const Target& target)
    : graph_(std::move(graph)), plan_(first_plan(operation_graph(graph_, target.handle), target)) {
  plan_.get(CUDNN_ATTR_EXECUTION_PLAN_WORKSPACE_SIZE, CUDNN_TYPE_INT64, 1, &workspace_bytes_);
}

void Plan::execute(cudnnHandle_t handle, const std::vector<void*>& memory, void* workspace) const {
  std::vector<int64_t> ids;
  std::vector<void*> pointers;
  for (size_t i = 0; i < graph_.tensors.size(); ++i) {
    if (graph_.tensors[i].place == Place::kInside) continue;
    ids.push_back(id_of(i));
    pointers.push_back(memory[i]);
  }
  const auto count = static_cast<int64_t>(ids.size());
  Descriptor pack(CUDNN_BACKEND_VARIANT_PACK_DESCRIPTOR);
  pack.set(CUDNN_ATTR_VARIANT_PACK_UNIQUE_IDS, CUDNN_TYPE_INT64, count, ids.data())
      .set(CUDNN_ATTR_VARIANT_PACK_DATA_POINTERS, CUDNN_TYPE_VOID_PTR, count, pointers.data())
      .set(CUDNN_ATTR_VARIANT_PACK_WORKSPACE, CUDNN_TYPE_VOID_PTR, 1, &workspace)
      .finalize("variant pack");
  check(cudnnBackendExecute(handle, plan_.get(), pack.get()), "cudnnBackendExecute");
}

}  // namespace orthant::cuda::cudnn
