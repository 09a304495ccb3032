// SPDX-License-Identifier: Apache-2.0
#include "tensor/autograd/soft_loss.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <numeric>
#include <span>

#include "tensor/ops/call.h"
#include "tensor/ops/elementwise.h"

namespace orthant {

using ops::call;
using ops::view_of;

namespace {

// A label of no part, for a cross-entropy without one.
constexpr int64_t kNowhere = std::numeric_limits<int64_t>::max() / 2;

template <class T>
std::vector<int64_t> places_of_largest(std::span<const T> values, int64_t columns) {
  std::vector<int64_t> places;
  for (auto row = values.begin(); row != values.end(); row += columns)
    places.push_back(std::max_element(row, row + columns) - row);
  return places;
}
std::vector<int64_t> places_of_largest(const Tensor& rows) {
  const Tensor host = rows.to(Device{});
  return host.dtype() == DType::kF64 ? places_of_largest<double>(host.span<double>(), host.dim(1))
                                     : places_of_largest<float>(host.span<float>(), host.dim(1));
}

// elements[places[i]] = values[i]; a place < 0 is none.  [.., 1] all.
void put(const Tensor& values, const Tensor& places, const Tensor& elements) {
  call(&Backend::combine_grad, "put_logits", {&values, &places, &elements},
       CombineGradArgs{
           .dy = view_of(values), .row_of = view_of(places), .drows = view_of(elements)});
}

Tensor elements_of(const Tensor& rows) { return rows.view({rows.numel(), 1}); }

}  // namespace

struct SoftLoss::Chunk {
  int64_t begin, end;
  Tensor logits, labels, dlogits;
  bool overwrites;

  int64_t rows() const { return end - begin; }
  int64_t own() const { return logits.dim(1); }
  Device device() const { return logits.device(); }
};

// What the model gives to a row's events.
struct SoftLoss::Events {
  Tensor logits;             // f64 [n, K] or [n, K + 1], on the device
  Tensor rest;               // f64 [n, 3]: VocabSumsArgs::sums of all other tokens
  std::vector<bool> agrees;  // the first of them is the likeliest token
};

Tensor SoftLoss::run(int64_t begin, int64_t end, const Tensor& logits, const Tensor& dlogits,
                     bool overwrites) const {
  const Chunk chunk{begin, end, logits, labels_.slice(begin, end), dlogits, overwrites};
  const Tensor numbers = Tensor::zeros({chunk.rows(), kNumbers}, DType::kF64);
  if (targets_.temperature != 1) ops::scale(logits, 1 / targets_.temperature, logits);
  targets_.ids.defined() ? run_likeliest(chunk, numbers) : run_whole(chunk, numbers);
  const Tensor host_labels = chunk.labels.to(Device{});
  for (int64_t r = 0; r < chunk.rows(); ++r) {
    double* row = numbers.as<double>() + r * kNumbers;
    row[0] *= targets_.temperature * targets_.temperature;
    if (host_labels.as<int32_t>()[r] < 0) row[1] = 0;
  }
  return numbers;
}

Tensor SoftLoss::divergence(const Chunk& chunk, const Tensor& x, const Tensor& y,
                            const Tensor& dx) const {
  ORTHANT_OP_CHECK("soft_loss", x.shape() == y.shape() && x.dtype() == y.dtype(), x, y);
  const Tensor losses = Tensor::empty({chunk.rows()}, DType::kF64, chunk.device());
  call(&Backend::divergence, "divergence", {&x, &y, &losses},
       DivergenceArgs{.x = view_of(x),
                      .y = view_of(y),
                      .labels = view_of(chunk.labels),
                      .losses = view_of(losses),
                      .dx = view_of(dx),
                      .forward = targets_.forward,
                      .reverse = targets_.reverse});
  return losses;
}

void SoftLoss::add_gradient(const Chunk& chunk, const Tensor& gradient) const {
  if (!chunk.overwrites) ops::add(chunk.dlogits, gradient, chunk.dlogits);
}

void SoftLoss::run_whole(const Chunk& chunk, const Tensor& numbers) const {
  const Tensor x = part_.gather_columns ? part_.gather_columns(chunk.logits) : chunk.logits;
  const Tensor y = targets_.logits(chunk.begin, chunk.end);
  if (targets_.temperature != 1) ops::scale(y, 1 / targets_.temperature, y);
  const bool wants_gradient = chunk.dlogits.defined();
  const Tensor dx = wants_gradient ? Tensor::like(x) : Tensor();
  const std::vector<double> losses = divergence(chunk, x, y, dx).to_doubles();
  const std::vector<int64_t> best = places_of_largest(x), wanted = places_of_largest(y);
  for (size_t r = 0; r < losses.size(); ++r) {
    numbers.as<double>()[r * kNumbers] = losses[r];
    numbers.as<double>()[r * kNumbers + 1] = best[r] == wanted[r];
  }
  if (!wants_gradient) return;
  ops::scale(dx, targets_.weight * targets_.temperature, dx);
  const Tensor gradient = chunk.overwrites ? chunk.dlogits : Tensor::like(chunk.dlogits);
  ops::copy_columns(dx, ops::columns_of(dx, part_.first, part_.first + chunk.own()),
                    view_of(gradient));
  add_gradient(chunk, gradient);
}

// Takes the row's tokens out of the logits: what is left are the other tokens.
SoftLoss::Events SoftLoss::gather_events(const Chunk& chunk, const Tensor& places) const {
  const int64_t n = chunk.rows(), k = targets_.ids.dim(1), columns = k + 2;
  const Tensor elements = elements_of(chunk.logits);
  const Tensor taken = Tensor::empty({n * k, 1}, chunk.logits.dtype(), chunk.device());
  call(&Backend::embedding, "take_logits", {&elements, &places, &taken},
       EmbeddingArgs{.table = view_of(elements), .ids = view_of(places), .out = view_of(taken)});
  const Tensor nothing = Tensor::like(taken);
  ops::fill(nothing, kNoLogit);
  put(nothing, places, elements);
  const Tensor sums = Tensor::empty({n, 3}, DType::kF64, chunk.device());
  call(&Backend::vocab_sums, "vocab_sums", {&chunk.logits, &chunk.labels, &sums},
       VocabSumsArgs{.logits = view_of(chunk.logits),
                     .labels = view_of(chunk.labels),
                     .sums = view_of(sums),
                     .first_label = kNowhere});
  const std::vector<double> own_sums = sums.to_doubles(), own_taken = taken.to_doubles();
  std::vector<double> own;
  for (int64_t r = 0; r < n; ++r) {
    own.insert(own.end(), own_sums.begin() + 3 * r, own_sums.begin() + 3 * r + 2);
    own.insert(own.end(), own_taken.begin() + k * r, own_taken.begin() + k * (r + 1));
  }
  const Tensor mine = Tensor::from({n, columns}, own, DType::kF64, chunk.device());
  const std::vector<double> all = (part_.gather ? part_.gather(mine) : mine).to_doubles();

  const int64_t events = targets_.log_probs.dim(1);
  std::vector<double> logits, rest;
  Events result;
  for (int64_t r = 0; r < n; ++r) {
    double max = -std::numeric_limits<double>::infinity(), sum = 0;
    std::vector<double> row(static_cast<size_t>(k), 0.0);  // each in one part, 0 in the others
    for (auto part = all.begin() + r * columns; part < all.end(); part += n * columns) {
      max = std::max(max, part[0]);
      std::transform(row.begin(), row.end(), part + 2, row.begin(), std::plus<>());
    }
    for (auto part = all.begin() + r * columns; part < all.end(); part += n * columns)
      sum += part[1] * std::exp(part[0] - max);
    result.agrees.push_back(std::max(max, *std::max_element(row.begin(), row.end())) == row[0]);
    row.push_back(max + std::log(sum));
    logits.insert(logits.end(), row.begin(), row.begin() + events);
    rest.insert(rest.end(), {max, sum, 0.0});
  }
  result.logits = Tensor::from({n, events}, logits, DType::kF64, chunk.device());
  result.rest = Tensor::from({n, 3}, rest, DType::kF64, chunk.device());
  return result;
}

void SoftLoss::run_likeliest(const Chunk& chunk, const Tensor& numbers) const {
  const int64_t n = chunk.rows(), k = targets_.ids.dim(1), own = chunk.own();
  const Tensor ids = targets_.ids.slice(chunk.begin, chunk.end);
  // Of the part's elements; -1: in another part.
  std::vector<int32_t> places;
  for (int64_t i = 0; i < n * k; ++i) {
    const int64_t id = ids.as<int32_t>()[i] - part_.first;
    places.push_back(id >= 0 && id < own ? static_cast<int32_t>(i / k * own + id) : -1);
  }
  const Tensor place_tensor = Tensor::from_i32({n * k, 1}, places, chunk.device());
  const Events events = gather_events(chunk, place_tensor);
  const Tensor wanted =
      targets_.log_probs.slice(chunk.begin, chunk.end).to(DType::kF64).to(chunk.device());
  const bool wants_gradient = chunk.dlogits.defined();
  const Tensor dx = wants_gradient ? Tensor::like(events.logits) : Tensor();
  const std::vector<double> losses = divergence(chunk, events.logits, wanted, dx).to_doubles();
  for (size_t r = 0; r < losses.size(); ++r) {
    numbers.as<double>()[r * kNumbers] = losses[r];
    numbers.as<double>()[r * kNumbers + 1] = events.agrees[r];
  }
  if (!wants_gradient) return;

  ops::scale(dx, targets_.weight * targets_.temperature, dx);
  const std::vector<double> slopes = dx.to_doubles();
  const int64_t columns = dx.dim(1);
  std::vector<double> of_tokens, of_rest;
  for (auto row = slopes.begin(); row != slopes.end(); row += columns) {
    of_tokens.insert(of_tokens.end(), row, row + k);
    of_rest.push_back(columns > k ? row[k] : 0.0);
  }
  // What all others have is shared out by their probabilities among them.
  const Tensor shares = Tensor::like(chunk.dlogits),
               unused = Tensor::empty({n}, DType::kF64, chunk.device());
  call(&Backend::cross_entropy, "cross_entropy", {&chunk.logits, &unused},
       CrossEntropyArgs{.logits = view_of(chunk.logits),
                        .labels = view_of(chunk.labels),
                        .sums = view_of(events.rest),
                        .losses = view_of(unused),
                        .dlogits = view_of(shares),
                        .first_label = kNowhere});
  std::vector<int32_t> numbered(static_cast<size_t>(n));
  std::iota(numbered.begin(), numbered.end(), 0);
  const Tensor row_of = Tensor::from_i32({n, 1}, numbered, chunk.device());
  const Tensor weights = Tensor::from({n, 1}, of_rest, wide_of(shares.dtype()), chunk.device());
  const Tensor gradient = chunk.overwrites ? chunk.dlogits : Tensor::like(shares);
  call(&Backend::combine, "weigh_rows", {&shares, &weights, &row_of},
       CombineArgs{.rows = view_of(shares),
                   .row_of = view_of(row_of),
                   .weights = view_of(weights),
                   .y = view_of(gradient)});
  put(Tensor::from({n * k, 1}, of_tokens, gradient.dtype(), chunk.device()), place_tensor,
      elements_of(gradient));
  add_gradient(chunk, gradient);
}

}  // namespace orthant
