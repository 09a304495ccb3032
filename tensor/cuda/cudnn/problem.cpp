// SPDX-License-Identifier: Apache-2.0
#include "tensor/cuda/cudnn/problem.h"

#include <algorithm>

namespace orthant::cuda::cudnn {
namespace {

constexpr int64_t kAlignBytes = 16, kBf16Bytes = 2;
constexpr int64_t kHeadMultiple = 8;

bool is_aligned(const View& view) {
  return reinterpret_cast<uintptr_t>(view.data) % kAlignBytes == 0 &&
         view.row_stride * kBf16Bytes % kAlignBytes == 0;
}

// The largest divisor of n that is at most `limit`, which is 1 or more.
int64_t divisor_up_to(int64_t n, int64_t limit) {
  int64_t divisor = std::min(n, limit);
  while (n % divisor != 0) --divisor;
  return divisor;
}

}  // namespace

const char* why_plain(const AttentionArgs& args) {
  if (args.q.dtype != DType::kBF16) return "only bf16";
  if (args.batch == 0 || args.q_len == 0) return "no tokens";
  if (args.kv_heads <= 0 || args.heads % args.kv_heads) return "heads do not fit";
  if (args.q_offset != 0 || args.kv_offset != 0 || args.kv_len != args.q_len || args.accumulate)
    return "decoding, or a chunk of a sequence";
  if (args.q_stride != args.q_len || args.kv_stride != args.q_len) return "sequences with gaps";
  if (args.window != 0) return "a window";
  if (args.qk_dim % kHeadMultiple || args.v_dim % kHeadMultiple)
    return "a head is no multiple of 8 elements";
  for (const View* view : {&args.q, &args.k, &args.v, &args.o})
    if (!is_aligned(*view)) return "rows do not begin at 16 bytes";
  return nullptr;
}

const char* why_plain(const AttentionGradArgs& args) {
  if (const char* why = why_plain(args.forward)) return why;
  if (args.accumulate) return "gradients are added";
  for (const View* view : {&args.do_, &args.dq, &args.dk, &args.dv})
    if (!is_aligned(*view)) return "rows do not begin at 16 bytes";
  return nullptr;
}

AttentionProblem problem_of(const AttentionArgs& args) {
  AttentionProblem p;
  p.has_documents = args.doc_start.data != nullptr;
  p.batch = args.batch;
  p.length = args.q_len;
  p.heads = args.heads;
  p.kv_heads = args.kv_heads;
  p.qk_dim = args.qk_dim;
  p.v_dim = args.v_dim;
  p.q_stride = args.q.row_stride;
  p.k_stride = args.k.row_stride;
  p.v_stride = args.v.row_stride;
  p.o_stride = args.o.row_stride;
  p.lse_stride = args.lse.data ? args.lse.row_stride : args.heads;
  return p;
}

AttentionProblem problem_of(const AttentionGradArgs& args, bool any_order) {
  AttentionProblem p = problem_of(args.forward);
  p.backward = true;
  p.any_order = any_order;
  p.do_stride = args.do_.row_stride;
  p.dq_stride = args.dq.row_stride;
  p.dk_stride = args.dk.row_stride;
  p.dv_stride = args.dv.row_stride;
  return p;
}

std::string text_of(const AttentionProblem& p) {
  const auto number = [](int64_t n) { return std::to_string(n); };
  return std::string(p.backward ? "attention_grad" : "attention") + " of " + number(p.batch) +
         " sequences of " + number(p.length) + " tokens, " + number(p.heads) + " query and " +
         number(p.kv_heads) + " key heads of " + number(p.qk_dim) + " and " + number(p.v_dim) +
         (p.has_documents ? ", packed documents" : "") +
         (p.backward ? p.any_order ? ", in any order" : ", in a fixed order" : "");
}

Part part_of(const AttentionProblem& p) {
  const Part whole{p.batch, p.kv_heads};
  if (!p.backward) return whole;
  // Of one KV head: dk and dv of every query head before they are added; the matrix ds.
  const int64_t per_head = 2 * p.length * (p.qk_dim + p.v_dim) * (p.group() > 1 ? 1 : 0) +
                           (p.any_order ? 0 : 2 * p.length * p.length);
  const int64_t per_kv_head = p.group() * per_head;
  if (per_kv_head == 0) return whole;
  const int64_t fit = kMaxWorkspaceBytes / per_kv_head;
  if (fit == 0) return {0, 0};
  if (fit >= p.kv_heads) return {divisor_up_to(p.batch, fit / p.kv_heads), p.kv_heads};
  return {1, divisor_up_to(p.kv_heads, fit)};
}

AttentionProblem problem_of(const AttentionProblem& whole, const Part& part) {
  AttentionProblem p = whole;
  p.batch = part.batch;
  p.kv_heads = part.kv_heads;
  p.heads = part.kv_heads * whole.group();
  return p;
}

}  // namespace orthant::cuda::cudnn
