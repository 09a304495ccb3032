// SPDX-License-Identifier: Apache-2.0
#include "tensor/cuda/report.h"

#include <algorithm>
#include <cstdio>
#include <exception>
#include <initializer_list>
#include <string>
#include <string_view>

#include "tensor/cuda/dtypes.h"

namespace orthant::cuda {
namespace {

Backend inner;
int (*device_index)() = nullptr;

std::string view_text(const View& view) {
  std::string text = std::string(text_of(view.dtype)) + " [";
  for (int i = 0; i < view.rank; ++i) text += (i ? ", " : "") + std::to_string(view.shape[i]);
  return text + "]";
}

// "a bf16 [2, 3], b f32 [3]", of "a, b" and the views; one that is not given is left out.
std::string list(std::string_view names, std::initializer_list<View> views) {
  std::string text;
  for (const View& view : views) {
    const std::string_view name = names.substr(0, names.find(','));
    if (view.rank > 0) {
      if (!text.empty()) text += ", ";
      text.append(name).append(" ").append(view_text(view));
    }
    names.remove_prefix(std::min(names.size(), name.size() + 2));
  }
  return text;
}

// The views of an op's arguments, by the names that they have there.
#define ORTHANT_OPERANDS(Args, ...)                                          \
  std::string operands_of(const Args& args) {                                \
    struct Named : Args {                                                    \
      explicit Named(const Args& all) : Args(all) {}                         \
      std::string text() const { return list(#__VA_ARGS__, {__VA_ARGS__}); } \
    };                                                                       \
    return Named(args).text();                                               \
  }
ORTHANT_OPERANDS(MatmulArgs, a, b, c)
ORTHANT_OPERANDS(GroupedMatmulArgs, x, w, y)
ORTHANT_OPERANDS(EmbeddingArgs, table, ids, out)
ORTHANT_OPERANDS(EmbeddingGradArgs, ids, dout, dtable)
ORTHANT_OPERANDS(RmsNormArgs, x, weight, y, rstd)
ORTHANT_OPERANDS(RmsNormGradArgs, x, weight, rstd, dy, dx, dweight)
ORTHANT_OPERANDS(RotaryArgs, x, y, positions, cos, sin)
ORTHANT_OPERANDS(CopyHeadsArgs, x, y)
ORTHANT_OPERANDS(AttentionArgs, q, k, v, o, lse, doc_start)
ORTHANT_OPERANDS(AttentionGradArgs, forward.q, forward.k, forward.v, forward.o, forward.lse,
                 forward.doc_start, do_, dq, dk, dv)
ORTHANT_OPERANDS(PagedAttentionArgs, q, k, v, o, sequences, pages)
ORTHANT_OPERANDS(SwigluArgs, x, y)
ORTHANT_OPERANDS(SwigluGradArgs, x, dy, dx)
ORTHANT_OPERANDS(SoftmaxArgs, x, y)
ORTHANT_OPERANDS(SoftmaxGradArgs, y, dy, dx)
ORTHANT_OPERANDS(VocabSumsArgs, logits, labels, sums)
ORTHANT_OPERANDS(CrossEntropyArgs, logits, labels, sums, losses, dlogits)
ORTHANT_OPERANDS(DivergenceArgs, x, y, labels, losses, dx)
ORTHANT_OPERANDS(BinaryArgs, a, b, y)
ORTHANT_OPERANDS(ScaleArgs, x, y)
ORTHANT_OPERANDS(ScaleColumnsArgs, x, factor, y)
ORTHANT_OPERANDS(ScaleColumnsGradArgs, x, dy, factor, dx, dfactor)
ORTHANT_OPERANDS(CastArgs, x, y)
ORTHANT_OPERANDS(FillArgs, y)
ORTHANT_OPERANDS(DropoutArgs, x, y, tokens)
ORTHANT_OPERANDS(GatherRowsArgs, x, index, y)
ORTHANT_OPERANDS(CombineArgs, rows, row_of, weights, y)
ORTHANT_OPERANDS(CombineGradArgs, dy, rows, row_of, weights, drows, dweights)
ORTHANT_OPERANDS(RouterArgs, logits, valid, bias, replay, scores, totals, lse, ids, weights,
                 chosen_scores, plain_ids, counts, group_counts, plain_counts, score_sums)
ORTHANT_OPERANDS(RouterGradArgs, logits, scores, totals, valid, ids, weights, lse, dweights,
                 score_coef, dlogits)
ORTHANT_OPERANDS(DropTokensArgs, ids, scores, valid, protected_rows, kept, dropped)
ORTHANT_OPERANDS(DispatchPlanArgs, ids, row_of, token_of)
ORTHANT_OPERANDS(AdamwArgs, param, master, m, v, grad)
ORTHANT_OPERANDS(SgdArgs, param, master, grad)
ORTHANT_OPERANDS(SumSquaresArgs, x, sums)
ORTHANT_OPERANDS(DequantizeArgs, codes, scales, nested, y)
#undef ORTHANT_OPERANDS

// In a short buffer operands give way to the reason.
void describe(const BackendCall* call, const std::string& op, std::string operands,
              std::string what) {
  if (what.starts_with(op + ": ")) what.erase(0, op.size() + 2);
  const std::string where = ") on cuda:" + std::to_string(device_index()) + ": ";
  const auto room =
      call->error_size - 2 - static_cast<int64_t>(op.size() + where.size() + what.size());
  if (static_cast<int64_t>(operands.size()) > room)
    operands = operands.substr(0, static_cast<size_t>(std::max<int64_t>(room - 3, 0))) + "...";
  std::snprintf(call->error, static_cast<size_t>(call->error_size), "%s(%s%s%s", op.c_str(),
                operands.c_str(), where.c_str(), what.c_str());
}

template <class Args>
int reported(const BackendCall* call, const char* op, const Args* args,
             int (*function)(const BackendCall*, const Args*)) {
  const bool listens = call && call->error && call->error_size > 0;
  try {
    const int status = function(call, args);
    if (status != 0 && listens) describe(call, op, operands_of(*args), call->error);
    return status;
  } catch (const std::exception& error) {
    if (listens) describe(call, op, operands_of(*args), error.what());
    return 1;
  }
}

}  // namespace

void report_errors(Backend& table, int (*current_device)()) {
  inner = table;
  device_index = current_device;
#define ORTHANT_WRAP(op, Args)                               \
  table.op = [](const BackendCall* call, const Args* args) { \
    return reported(call, #op, args, inner.op);              \
  };
  ORTHANT_OPS(ORTHANT_WRAP)
#undef ORTHANT_WRAP
}

}  // namespace orthant::cuda
