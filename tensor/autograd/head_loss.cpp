// SPDX-License-Identifier: Apache-2.0
#include <algorithm>
#include <numeric>
#include <optional>

#include "base/context.h"
#include "tensor/autograd/ops.h"
#include "tensor/autograd/products.h"
#include "tensor/autograd/soft_loss.h"
#include "tensor/ops/elementwise.h"

namespace orthant {

using ops::call;
using ops::view_of;

namespace {

// One of the products whose sum the logits are: x w^T.
struct HeadTerm {
  HeadTerm(const Var& input, Weight& of)
      : weight(of),
        x(as_rows(input.value())),
        wants_dx(grad_enabled() && input.needs_grad()),
        wants_dw(grad_enabled() && of.trainable()),
        forward(of.operand(WeightForm::kForward)) {
    if (!wants_dx) return;
    dx = Tensor::empty(input.value().shape(), x.dtype(), x.device());
    back.emplace(of.operand(WeightForm::kDataGrad));
  }

  void add_logits(int64_t begin, int64_t end, const Tensor& logits, bool accumulate) const {
    multiply(x.slice(begin, end), false, forward.view(), true, logits, accumulate,
             forward.prepared());
  }
  // Of rows [begin, end); dw null where it is not wanted.
  void add_gradients(int64_t begin, int64_t end, const Tensor& dlogits, const Tensor* dw,
                     bool accumulate) const {
    if (wants_dx) multiply_back(dlogits, *back, as_rows(dx).slice(begin, end));
    if (dw) multiply(dlogits, true, x.slice(begin, end), false, *dw, accumulate || begin > 0);
  }
  // f(dw, accumulate) where the weight's gradient is wanted, f(null, false) otherwise.
  void with_gradient(FunctionRef<void(const Tensor*, bool)> f) const {
    if (!wants_dw) return f(nullptr, false);
    weight.add_gradient([&](const Tensor& dw, bool accumulate) {
      if (x.dim(0) == 0 && !accumulate) ops::fill(dw, 0.0);
      f(&dw, accumulate);
    });
  }

  Weight& weight;
  Tensor x;
  bool wants_dx, wants_dw;
  Operand forward;
  std::optional<Operand> back;
  Tensor dx;
};

// The head's loss over chunks of rows: only one chunk's logits exist at a time.
class HeadChunks {
 public:
  HeadChunks(const std::vector<HeadTerm>& terms, const Tensor& labels, const VocabPart& part,
             const Tensor& row_weights, const SoftTargets* targets)
      : x_(terms.front().x), terms_(terms), labels_(labels), part_(part), targets_(targets) {
    const Tensor& x = x_;
    const Operand& head = terms.front().forward;
    // The chunk depends on the head alone, so that a row's bits do not change with the batch.
    const int64_t row_bytes = head.view().dim(0) * size_of(wide());
    chunk_rows_ = std::clamp(kChunkBytes / row_bytes, kLeastRows, kMostRows);
    const CategoryScope category(MemoryCategory::kWorkspace);
    logits_ =
        Tensor::empty({std::min(chunk_rows_, x.dim(0)), head.view().dim(0)}, wide(), x.device());
    unweighted_ = losses_ = Tensor::empty({x.dim(0), 1}, DType::kF64, x.device());
    if (targets || row_weights.defined()) losses_ = Tensor::like(unweighted_);
    if (targets) soft_ = Tensor::empty({x.dim(0), SoftLoss::kNumbers}, DType::kF64);
    if (!row_weights.defined()) return;
    weights_ = row_weights.view(losses_.shape());
    std::vector<int32_t> places(static_cast<size_t>(logits_.dim(0)));
    std::iota(places.begin(), places.end(), 0);
    places_ = Tensor::from_i32({logits_.dim(0), 1}, places, x.device());
  }
  DType wide() const { return wide_of(x_.dtype()); }
  Tensor losses() const { return losses_.view({x_.dim(0)}); }
  Tensor unweighted() const { return unweighted_.view({x_.dim(0)}); }
  Tensor soft() const { return soft_; }

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
      run_chunk(begin, end, by_label() ? dl : Tensor());
      if (targets_) soften(begin, end, dl);
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
    for (const HeadTerm& term : terms_)
      term.add_logits(begin, end, logits, &term != &terms_.front());
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

  // Whether labels give a gradient.
  bool by_label() const { return !targets_ || targets_->label_weight != 0; }

  // From the labels' losses and gradient to the whole ones.
  void soften(int64_t begin, int64_t end, const Tensor& dlogits) {
    const double label_weight = targets_->label_weight;
    if (dlogits.defined() && by_label()) ops::scale(dlogits, label_weight, dlogits);
    const Tensor numbers =
        SoftLoss(*targets_, part_, labels_)
            .run(begin, end, logits_.slice(0, end - begin), dlogits, !by_label());
    copy(numbers, soft_.slice(begin, end));
    std::vector<double> losses = unweighted_.slice(begin, end).to_doubles();
    for (size_t r = 0; r < losses.size(); ++r)
      losses[r] = label_weight * losses[r] +
                  targets_->weight * numbers.as<double>()[r * SoftLoss::kNumbers];
    copy(Tensor::from({end - begin, 1}, losses, DType::kF64), losses_.slice(begin, end));
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
  const std::vector<HeadTerm>& terms_;
  Tensor labels_;
  const VocabPart& part_;
  const SoftTargets* targets_;  // null: labels alone
  int64_t chunk_rows_ = 0;
  Tensor logits_, unweighted_, losses_, soft_;
  Tensor weights_, places_;  // [N, 1]; i32 [chunk, 1] 0, 1, ...; undefined without weights
};

std::vector<HeadTerm> terms_of(const Var& x, Weight& head, std::span<const HeadAdapter> adapters) {
  std::vector<HeadTerm> terms;
  const auto add = [&](const Var& input, Weight& weight) {
    const Tensor rows = as_rows(input.value());
    check_weight("head_loss",
                 weight.shape().rank() == 2 && rows.dim(1) == weight.shape()[1] &&
                     weight.shape()[0] == head.shape()[0],
                 rows, weight);
    terms.emplace_back(input, weight);
  };
  terms.reserve(1 + adapters.size());
  add(x, head);
  for (const HeadAdapter& adapter : adapters)
    if (adapter.low.defined()) add(adapter.low, *adapter.b);
  return terms;
}

}  // namespace

HeadLoss head_loss(const Var& x, Weight& head, const Tensor& labels, const VocabPart& part,
                   const Tensor& row_weights, const HeadAdapter& adapter, const SoftTargets* soft) {
  const std::vector<HeadTerm> terms = terms_of(x, head, {&adapter, 1});
  const Tensor& xv = terms.front().x;
  const int64_t rows = xv.dim(0);
  ORTHANT_OP_CHECK("head_loss", labels.numel() == rows && labels.dtype() == DType::kI32, xv,
                   labels);
  ORTHANT_OP_CHECK("head_loss",
                   !row_weights.defined() || (row_weights.numel() == rows &&
                                              row_weights.dtype() == wide_of(row_weights.dtype())),
                   xv, row_weights);
  ORTHANT_OP_CHECK("head_loss", !soft || !row_weights.defined(), xv, row_weights);
  HeadChunks chunks(terms, labels.view({rows}), part, row_weights, soft);
  const HeadTerm &whole = terms.front(), &low = terms.back();
  const bool has_low = terms.size() > 1;
  whole.with_gradient([&](const Tensor* dw, bool accumulate) {
    const auto run = [&](const Tensor* db, bool accumulate_db) {
      if (!dw && !db && !whole.wants_dx && !low.wants_dx) return chunks.run({});
      chunks.run([&](int64_t begin, int64_t end, const Tensor& dlogits) {
        whole.add_gradients(begin, end, dlogits, dw, accumulate);
        if (has_low) low.add_gradients(begin, end, dlogits, db, accumulate_db);
      });
    };
    has_low ? low.with_gradient(run) : run(nullptr, false);
  });
  double total = 0;
  for (double loss : chunks.losses().to_doubles()) total += loss;
  const Tensor sum = Tensor::from({1}, {{total}}, chunks.wide(), xv.device());
  std::vector<Var> inputs = {x};
  Grads gradients = {whole.dx};
  if (has_low) {
    inputs.push_back(adapter.low);
    gradients.push_back(low.dx);
  }
  Var result = record(
      "head_loss", std::move(inputs), sum,
      [gradients = std::move(gradients)](const Tensor& dy) -> Grads {
        ORTHANT_CHECK(
            dy.to_doubles()[0] == 1.0, kInternal,
            "head_loss: its gradients were made in forward: backward starts here, with 1, got ",
            dy.to_doubles()[0]);
        return gradients;
      },
      whole.wants_dw || low.wants_dw);
  return {std::move(result), chunks.losses(), chunks.unweighted(), chunks.soft()};
}

Tensor head_logits(const Tensor& x, Weight& head, std::span<const HeadAdapter> adapters) {
  const NoGradScope no_grad;
  const std::vector<HeadTerm> terms = terms_of(Var(x), head, adapters);
  const Tensor& rows = terms.front().x;
  const Tensor logits =
      Tensor::empty({rows.dim(0), head.shape()[0]}, wide_of(x.dtype()), x.device());
  for (const HeadTerm& term : terms)
    term.add_logits(0, rows.dim(0), logits, &term != &terms.front());
  return logits;
}

}  // namespace orthant
