// SPDX-License-Identifier: Apache-2.0
// A graph compiled by cuDNN for one device, and its execution.
#pragma once

#include <vector>

#include "tensor/cuda/cudnn/descriptor.h"
#include "tensor/cuda/cudnn/graph.h"

namespace orthant::cuda::cudnn {

// What a plan is made for: the device of a handle or, without any device, a description of one.
struct Target {
  cudnnHandle_t handle = nullptr;
  const Descriptor* device = nullptr;  // CUDNN_BACKEND_DEVICEPROP_DESCRIPTOR
};

// Tensors and operations as descriptors; needs no driver.  CudnnError when cuDNN refuses the graph.
Descriptor operation_graph(const Graph& graph, cudnnHandle_t handle);

class Plan {
 public:
  // Takes a quarter of a second and more.  CudnnError when no engine takes the graph.
  Plan(Graph graph, const Target& target);
  int64_t workspace_bytes() const { return workspace_bytes_; }
  const Graph& graph() const { return graph_; }

  // Starts the plan on the handle's stream.  memory[i] is where graph().tensors[i] is: device
  // memory, a float of the host for a number, not read for a tensor inside.  `workspace` is
  // workspace_bytes() of device memory.
  void execute(cudnnHandle_t handle, const std::vector<void*>& memory, void* workspace) const;

 private:
  Graph graph_;
  Descriptor plan_;
  int64_t workspace_bytes_ = 0;
};

}  // namespace orthant::cuda::cudnn
