// SPDX-License-Identifier: Apache-2.0
#include <algorithm>

#include "base/context.h"
#include "tensor/autograd/ops.h"
#include "tensor/ops/call.h"
#include "tensor/ops/elementwise.h"

namespace orthant {
namespace {

using ops::call;
using ops::view_of;

Tensor as_rows(const Tensor& x) { return x.view({x.rows(), x.dim(-1)}); }

Shape with_last(const Shape& shape, int64_t last) {
  Shape result = shape;
  result[-1] = last;
  return result;
}

void multiply(const Tensor& a, bool trans_a, const Tensor& b, bool trans_b, const Tensor& c,
              bool accumulate, const void* prepared_b) {
  call(&Backend::matmul, "linear", {&a, &b, &c},
       MatmulArgs{.a = view_of(a),
                  .b = view_of(b),
                  .c = view_of(c),
                  .trans_a = trans_a,
                  .trans_b = trans_b,
                  .accumulate = accumulate,
                  .prepared_b = prepared_b});
}

void grouped(ProductForm form, const Tensor& x, const Tensor& w, const Tensor& y,
             const std::vector<int64_t>& offsets, bool accumulate, const void* prepared_w) {
  call(&Backend::grouped_matmul, "grouped_linear", {&x, &w, &y},
       GroupedMatmulArgs{.form = form,
                         .x = view_of(x),
                         .w = view_of(w),
                         .y = view_of(y),
                         .offsets = offsets.data(),
                         .prepared_w = prepared_w,
                         .accumulate = accumulate});
}

}  // namespace

Var linear(const Var& x, Weight& w) {
  const Tensor xv = as_rows(x.value());
  ORTHANT_OP_CHECK("linear", w.value().rank() == 2 && xv.dim(1) == w.value().dim(1), xv, w.value());
  ORTHANT_OP_CHECK("linear", xv.dtype() == w.value().dtype(), xv, w.value());
  ops::check_same_device("linear", {&xv, &w.value()});
  const int64_t out = w.value().dim(0);
  const Tensor y = Tensor::empty(with_last(x.value().shape(), out), xv.dtype(), xv.device());
  multiply(xv, false, w.value(), true, as_rows(y), false, w.prepared(WeightForm::kForward));
  const bool wants_dx = x.needs_grad();
  return record(
      "linear", {x}, y,
      [xv, &w, wants_dx, shape = x.value().shape()](const Tensor& dy) -> Grads {
        const Tensor dy_rows = as_rows(dy);
        Tensor dx;
        if (wants_dx) {
          dx = Tensor::empty(shape, xv.dtype(), xv.device());
          multiply(dy_rows, false, w.value(), false, as_rows(dx), false,
                   w.prepared(WeightForm::kDataGrad));
        }
        if (w.trainable()) {
          weight_grad([xv, dy_rows, &w] {
            w.add_gradient([&](const Tensor& dw, bool accumulate) {
              multiply(dy_rows, true, xv, false, dw, accumulate, nullptr);
            });
          });
        }
        return {dx};
      },
      w.trainable());
}

Var grouped_linear(const Var& x, Weight& w, std::shared_ptr<const std::vector<int64_t>> offsets) {
  const Tensor& xv = x.value();
  ORTHANT_OP_CHECK("grouped_linear",
                   w.value().rank() == 3 && xv.rank() == 2 && xv.dim(1) == w.value().dim(2), xv,
                   w.value());
  ORTHANT_OP_CHECK("grouped_linear", xv.dtype() == w.value().dtype(), xv, w.value());
  const int64_t experts = w.value().dim(0), out = w.value().dim(1);
  ORTHANT_CHECK(
      static_cast<int64_t>(offsets->size()) == experts + 1 && offsets->back() == xv.dim(0),
      kInternal, "grouped_linear: want offsets of ", experts, " experts over ", xv.dim(0), " rows");
  const Tensor y = Tensor::empty({xv.dim(0), out}, xv.dtype(), xv.device());
  grouped(ProductForm::kForward, xv, w.value(), y, *offsets, false,
          w.prepared(WeightForm::kForward));
  const bool wants_dx = x.needs_grad();
  return record(
      "grouped_linear", {x}, y,
      [xv, &w, wants_dx, offsets](const Tensor& dy) -> Grads {
        Tensor dx;
        if (wants_dx) {
          dx = Tensor::like(xv);
          grouped(ProductForm::kDataGrad, dy, w.value(), dx, *offsets, false,
                  w.prepared(WeightForm::kDataGrad));
        }
        if (w.trainable()) {
          weight_grad([xv, dy, &w, offsets] {
            w.add_gradient([&](const Tensor& dw, bool accumulate) {
              grouped(ProductForm::kWeightGrad, xv, dw, dy, *offsets, accumulate, nullptr);
            });
          });
        }
        return {dx};
      },
      w.trainable());
}

namespace {

// The head's loss over chunks of rows: only one chunk's logits exist at a time.
class HeadChunks {
 public:
  HeadChunks(const Tensor& x, const Weight& head, const Tensor& labels, const VocabPart& part)
      : x_(x), head_(head), labels_(labels), part_(part) {
    // The chunk depends on the head alone, so that a row's bits do not change with the batch.
    const int64_t row_bytes = head.value().dim(0) * size_of(wide());
    chunk_rows_ = std::clamp(kChunkBytes / row_bytes, kLeastRows, kMostRows);
    const CategoryScope category(MemoryCategory::kWorkspace);
    logits_ =
        Tensor::empty({std::min(chunk_rows_, x.dim(0)), head.value().dim(0)}, wide(), x.device());
    losses_ = Tensor::empty({x.dim(0)}, DType::kF64, x.device());
  }
  DType wide() const { return wide_of(x_.dtype()); }
  const Tensor& losses() const { return losses_; }

  // Calls gradient(begin, end, dlogits) for every chunk, where it is given.
  void run(const std::function<void(int64_t, int64_t, const Tensor&)>& gradient) {
    Tensor dlogits;
    if (gradient) {
      const CategoryScope category(MemoryCategory::kWorkspace);
      dlogits = Tensor::empty(logits_.shape(), x_.dtype(), x_.device());
    }
    for (int64_t begin = 0; begin < x_.dim(0); begin += chunk_rows_) {
      const int64_t end = std::min(x_.dim(0), begin + chunk_rows_);
      const Tensor dl = gradient ? dlogits.slice(0, end - begin) : Tensor();
      run_chunk(begin, end, dl);
      if (gradient) gradient(begin, end, dl);
    }
  }

 private:
  static constexpr int64_t kChunkBytes = 8 << 20, kLeastRows = 64, kMostRows = 1024;

  void run_chunk(int64_t begin, int64_t end, const Tensor& dlogits) {
    const Tensor logits = logits_.slice(0, end - begin), labels = labels_.slice(begin, end);
    multiply(x_.slice(begin, end), false, head_.value(), true, logits, false,
             head_.prepared(WeightForm::kForward));
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
    const Tensor y = losses_.slice(begin, end);
    call(&Backend::cross_entropy, "cross_entropy", {&logits, &y},
         CrossEntropyArgs{.logits = view_of(logits),
                          .labels = view_of(labels),
                          .sums = view_of(sums),
                          .losses = view_of(y),
                          .dlogits = view_of(dlogits),
                          .first_label = part_.first});
  }

  Tensor x_;
  const Weight& head_;
  Tensor labels_;
  const VocabPart& part_;
  int64_t chunk_rows_ = 0;
  Tensor logits_, losses_;
};

}  // namespace

HeadLoss head_loss(const Var& x, Weight& head, const Tensor& labels, const VocabPart& part) {
  const Tensor xv = as_rows(x.value());
  const int64_t rows = xv.dim(0);
  ORTHANT_OP_CHECK("head_loss", head.value().rank() == 2 && xv.dim(1) == head.value().dim(1), xv,
                   head.value());
  ORTHANT_OP_CHECK("head_loss", labels.numel() == rows && labels.dtype() == DType::kI32, xv,
                   labels);
  HeadChunks chunks(xv, head, labels.view({rows}), part);
  const bool wants_dx = grad_enabled() && x.needs_grad();
  const bool wants_dw = grad_enabled() && head.trainable();
  Tensor dx;
  if (wants_dx) dx = Tensor::empty(x.value().shape(), xv.dtype(), xv.device());
  const auto data_gradient = [&](int64_t begin, int64_t end, const Tensor& dlogits) {
    if (!wants_dx) return;
    multiply(dlogits, false, head.value(), false, as_rows(dx).slice(begin, end), false,
             head.prepared(WeightForm::kDataGrad));
  };
  if (wants_dw) {
    head.add_gradient([&](const Tensor& dw, bool accumulate) {
      if (rows == 0 && !accumulate) ops::fill(dw, 0.0);
      chunks.run([&](int64_t begin, int64_t end, const Tensor& dlogits) {
        data_gradient(begin, end, dlogits);
        multiply(dlogits, true, xv.slice(begin, end), false, dw, accumulate || begin > 0, nullptr);
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
  return {std::move(result), chunks.losses()};
}

Tensor head_logits(const Tensor& x, Weight& head) {
  const Tensor rows = as_rows(x);
  ORTHANT_OP_CHECK("head_logits", rows.dim(1) == head.value().dim(1), rows, head.value());
  const Tensor logits =
      Tensor::empty({rows.dim(0), head.value().dim(0)}, wide_of(x.dtype()), x.device());
  multiply(rows, false, head.value(), true, logits, false, head.prepared(WeightForm::kForward));
  return logits;
}

}  // namespace orthant
