// SPDX-License-Identifier: Apache-2.0
// Which attention cuDNN computes, and what tells one of its plans from another.  Plain C++, no
// CUDA: tested on the host.
#pragma once

#include <compare>
#include <cstdint>
#include <string>

#include "tensor/backend.h"

namespace orthant::cuda::cudnn {

// Why a call goes to the plain kernels; null when cuDNN is asked.  cuDNN takes whole sequences in
// bf16 (f64 and f32 are for proofs), heads of a multiple of 8 elements, and memory whose rows all
// begin at 16 bytes.  It may still have no engine for the device: see attention.cpp.
const char* why_plain(const AttentionArgs& args);
const char* why_plain(const AttentionGradArgs& args);

// Everything that a graph of attention depends on, and so the key of its plan.  Strides are
// distances between tokens, in elements; those that a direction does not have are 0.
struct AttentionProblem {
  bool backward = false;
  // Backward: dq is summed in whatever order thread blocks finish; else in a fixed order, which
  // costs a T x T workspace.
  bool any_order = false;
  bool has_documents = false;
  int64_t batch = 0, length = 0, heads = 0, kv_heads = 0, qk_dim = 0, v_dim = 0;
  int64_t q_stride = 0, k_stride = 0, v_stride = 0, o_stride = 0, lse_stride = 0;
  int64_t do_stride = 0, dq_stride = 0, dk_stride = 0, dv_stride = 0;

  auto operator<=>(const AttentionProblem&) const = default;
  int64_t group() const { return heads / kv_heads; }  // query heads of a KV head
};
AttentionProblem problem_of(const AttentionArgs& args);
AttentionProblem problem_of(const AttentionGradArgs& args, bool any_order);
std::string text_of(const AttentionProblem& problem);

// A backward call is cut into equal parts of `batch` sequences and `kv_heads` KV heads with their
// query heads, so that the workspace of one part stays below kMaxWorkspaceBytes: one plan for all
// parts.
struct Part {
  int64_t batch, kv_heads;  // 0: even one KV head of one sequence takes too much
};
inline constexpr int64_t kMaxWorkspaceBytes = int64_t{1} << 30;
Part part_of(const AttentionProblem& problem);
AttentionProblem problem_of(const AttentionProblem& whole, const Part& part);

}  // namespace orthant::cuda::cudnn
