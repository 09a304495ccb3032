// SPDX-License-Identifier: Apache-2.0
#include <algorithm>
#include <numeric>
#include <optional>

#include "base/context.h"
#include "tensor/autograd/ops.h"
#include "tensor/autograd/products.h"
#include "tensor/ops/elementwise.h"

namespace orthant {

using ops::call;
using ops::view_of;

namespace {

// The head's loss over chunks of rows: only one chunk's logits exist at a time.
class HeadChunks {
 public:
  HeadChunks(const Tensor& x, const Operand& head, const Tensor& labels, const VocabPart& part,
             const Tensor& row_weights)
      : x_(x), head_(head), labels_(labels), part_(part) {
    // The chunk depends on the head alone, so that a row's bits do not change with the batch.
    const int64_t row_bytes = head.view().dim(0) * size_of(wide());
    chunk_rows_ = std::clamp(kChunkBytes / row_bytes, kLeastRows, kMostRows);
    const CategoryScope category(MemoryCategory::kWorkspace);
    logits_ =
        Tensor::empty({std::min(chunk_rows_, x.dim(0)), head.view().dim(0)}, wide(), x.device());
    unweighted_ = losses_ = Tensor::empty({x.dim(0), 1}, DType::kF64, x.device());
    if (!row_weights.defined()) return;
    losses_ = Tensor::like(unweighted_);
    weights_ = row_weights.view(losses_.shape());
    std::vector<int32_t> places(static_cast<size_t>(logits_.dim(0)));
    std::iota(places.begin(), places.end(), 0);
    places_ = Tensor::from_i32({logits_.dim(0), 1}, places, x.device());
  }
  DType wide() const { return wide_of(x_.dtype()); }
  Tensor losses() const { return losses_.view({x_.dim(0)}); }
  Tensor unweighted() const { return unweighted_.view({x_.dim(0)}); }

  // Calls gradient(begin, end, dlogits) for every chunk, where it is given.
  void run(const std::function<void(int64_t, int64_t, const Tensor&)>& gradient) {
    Tensor dlogits, weighted;
    if (gradient) {
      const CategoryScope category(MemoryCategory::kWorkspace);
      dlogits = Tensor::empty(logits_.shape(), x_.dtype(), x_.device());
      weighted = weights_.defined() ? Tensor::like(dlogits) : dlogits;
    }
    for (int64_t begin = 0; begin < x_.dim(0); begin += chunk_rows_) {
      const int64_t end = std::min(x_.dim(0), begin + chunk_rows_);
      const Tensor dl = gradient ? dlogits.slice(0, end - begin) : Tensor();
      run_chunk(begin, end, dl);
      weigh(begin, unweighted_.slice(begin, end), losses_.slice(begin, end));
      if (!gradient) continue;
      weigh(begin, dl, weighted.slice(0, end - begin));
      gradient(begin, end, weighted.slice(0, end - begin));
    }
  }

 private:
  static constexpr int64_t kChunkBytes = 8 << 20, kLeastRows = 64, kMostRows = 1024;

  void run_chunk(int64_t begin, int64_t end, const Tensor& dlogits) {
    const Tensor logits = logits_.slice(0, end - begin), labels = labels_.slice(begin, end);
    multiply_forward(x_.slice(begin, end), head_, logits);
    Tensor sums;
    if (part_.gather) {
      const Tensor own = Tensor::empty({end - begin, 3}, DType::kF64, x_.device());
      call(&Backend::vocab_sums, "vocab_sums", {&logits, &labels, &own},
           VocabSumsArgs{.logits = view_of(logits),
                         .labels = view_of(labels),
                         .sums = view_of(own),
                         .first_label = part_.first});
      sums = part_.gather(own);
    }
    const Tensor y = unweighted_.slice(begin, end).view({end - begin});
    call(&Backend::cross_entropy, "cross_entropy", {&logits, &y},
         CrossEntropyArgs{.logits = view_of(logits),
                          .labels = view_of(labels),
                          .sums = view_of(sums),
                          .losses = view_of(y),
                          .dlogits = view_of(dlogits),
                          .first_label = part_.first});
  }

  // y = x, each row times the weight of row `begin` + its place.
  void weigh(int64_t begin, const Tensor& x, const Tensor& y) const {
    if (!weights_.defined()) return;
    const Tensor places = places_.slice(0, x.dim(0));
    const Tensor weights = weights_.slice(begin, begin + x.dim(0)).to(wide_of(x.dtype()));
    call(&Backend::combine, "weigh_rows", {&x, &weights, &places},
         CombineArgs{.rows = view_of(x),
                     .row_of = view_of(places),
                     .weights = view_of(weights),
                     .y = view_of(y)});
  }

  Tensor x_;
  const Operand& head_;
  Tensor labels_;
  const VocabPart& part_;
  int64_t chunk_rows_ = 0;
  Tensor logits_, unweighted_, losses_;
  Tensor weights_, places_;  // [N, 1]; i32 [chunk, 1] 0, 1, ...; undefined without weights
};

}  // namespace

HeadLoss head_loss(const Var& x, Weight& head, const Tensor& labels, const VocabPart& part,
                   const Tensor& row_weights) {
  const Tensor xv = as_rows(x.value());
  const int64_t rows = xv.dim(0);
  check_weight("head_loss", head.shape().rank() == 2 && xv.dim(1) == head.shape()[1], xv, head);
  ORTHANT_OP_CHECK("head_loss", labels.numel() == rows && labels.dtype() == DType::kI32, xv,
                   labels);
  ORTHANT_OP_CHECK("head_loss",
                   !row_weights.defined() || (row_weights.numel() == rows &&
                                              row_weights.dtype() == wide_of(row_weights.dtype())),
                   xv, row_weights);
  const Operand weight = head.operand(WeightForm::kForward);
  HeadChunks chunks(xv, weight, labels.view({rows}), part, row_weights);
  const bool wants_dx = grad_enabled() && x.needs_grad();
  const bool wants_dw = grad_enabled() && head.trainable();
  Tensor dx;
  std::optional<Operand> weight_back;
  if (wants_dx) {
    dx = Tensor::empty(x.value().shape(), xv.dtype(), xv.device());
    weight_back = head.operand(WeightForm::kDataGrad);
  }
  const auto data_gradient = [&](int64_t begin, int64_t end, const Tensor& dlogits) {
    if (wants_dx) multiply_back(dlogits, *weight_back, as_rows(dx).slice(begin, end));
  };
  if (wants_dw) {
    head.add_gradient([&](const Tensor& dw, bool accumulate) {
      if (rows == 0 && !accumulate) ops::fill(dw, 0.0);
      chunks.run([&](int64_t begin, int64_t end, const Tensor& dlogits) {
        data_gradient(begin, end, dlogits);
        multiply(dlogits, true, xv.slice(begin, end), false, dw, accumulate || begin > 0);
      });
    });
  } else if (wants_dx) {
    chunks.run(data_gradient);
  } else {
    chunks.run({});
  }
  double total = 0;
  for (double loss : chunks.losses().to_doubles()) total += loss;
  const Tensor sum = Tensor::from({1}, {{total}}, chunks.wide(), xv.device());
  Var result = record(
      "head_loss", {x}, sum,
      [dx](const Tensor& dy) -> Grads {
        ORTHANT_CHECK(
            dy.to_doubles()[0] == 1.0, kInternal,
            "head_loss: its gradients were made in forward: backward starts here, with 1, got ",
            dy.to_doubles()[0]);
        return {dx};
      },
      head.trainable());
  return {std::move(result), chunks.losses(), chunks.unweighted()};
}

Tensor head_logits(const Tensor& x, Weight& head) {
  const Tensor rows = as_rows(x);
  check_weight("head_logits", rows.dim(1) == head.shape()[1], rows, head);
  const Tensor logits =
      Tensor::empty({rows.dim(0), head.shape()[0]}, wide_of(x.dtype()), x.device());
  multiply_forward(rows, head.operand(WeightForm::kForward), logits);
  return logits;
}

}  // namespace orthant
