// SPDX-License-Identifier: Apache-2.0
#include "parallel/collectives.h"

#include <vector>

#include "base/error.h"
#include "parallel/split_dim.h"

namespace orthant {
namespace {

Tensor all_reduced(const Tensor& x, const Group& group, Site site) {
  const Tensor sum = x.clone();
  group.all_reduce(sum, site).wait();
  return sum;
}

Parts parts_of_whole(const char* op, const Var& x, int dim, const Group& group,
                     std::span<const int64_t> sizes, Site site) {
  return make_parts(op, group, dim, x.value().rank(), x.value().dim(dim), sizes, site);
}

// x is this rank's part: without sizes, all have as much.
Parts parts_of_own(const char* op, const Var& x, int dim, const Group& group,
                   std::span<const int64_t> sizes, Site site) {
  const int64_t own = x.value().dim(dim);
  int64_t whole = own * group.size();
  if (!sizes.empty()) {
    whole = 0;
    for (const int64_t size : sizes) whole += size;
  }
  Parts parts = make_parts(op, group, dim, x.value().rank(), whole, sizes, site);
  ORTHANT_CHECK(parts.sizes[static_cast<size_t>(group.rank())] == own, kInternal, op, " on group ",
                group.name(), ": want ", parts.sizes[static_cast<size_t>(group.rank())],
                " along dim ", dim, ", got ", describe(x.value()));
  return parts;
}

}  // namespace

Var copy_to(const Var& x, const Group& group, Site site) {
  if (group.size() == 1) return x;
  return record("copy_to", {x}, x.value(), [group, site](const Tensor& dy) -> Grads {
    return {all_reduced(dy, group, site)};
  });
}

Var reduce_from(const Var& x, const Group& group, Site site) {
  if (group.size() == 1) return x;
  return record("reduce_from", {x}, all_reduced(x.value(), group, site),
                [](const Tensor& dy) -> Grads { return {dy}; });
}

Var split_to(const Var& x, int dim, const Group& group, std::span<const int64_t> sizes, Site site) {
  if (group.size() == 1) return x;
  const Parts parts = parts_of_whole("split_to", x, dim, group, sizes, site);
  return record("split_to", {x}, own_part(x.value(), parts, group.rank()),
                [parts, group, site](const Tensor& dy) -> Grads {
                  return {gather_parts(dy, parts, group, site)};
                });
}

Var gather_replicated(const Var& x, int dim, const Group& group, std::span<const int64_t> sizes,
                      Site site) {
  if (group.size() == 1) return x;
  const Parts parts = parts_of_own("gather_replicated", x, dim, group, sizes, site);
  return record(
      "gather_replicated", {x}, gather_parts(x.value(), parts, group, site),
      [parts, group](const Tensor& dy) -> Grads { return {own_part(dy, parts, group.rank())}; });
}

Var gather_partial(const Var& x, int dim, const Group& group, std::span<const int64_t> sizes,
                   Site site) {
  if (group.size() == 1) return x;
  const Parts parts = parts_of_own("gather_partial", x, dim, group, sizes, site);
  return record("gather_partial", {x}, gather_parts(x.value(), parts, group, site),
                [parts, group, site](const Tensor& dy) -> Grads {
                  return {reduce_parts(dy, parts, group, site)};
                });
}

Var reduce_scatter(const Var& x, int dim, const Group& group, std::span<const int64_t> sizes,
                   Site site) {
  if (group.size() == 1) return x;
  const Parts parts = parts_of_whole("reduce_scatter", x, dim, group, sizes, site);
  return record("reduce_scatter", {x}, reduce_parts(x.value(), parts, group, site),
                [parts, group, site](const Tensor& dy) -> Grads {
                  return {gather_parts(dy, parts, group, site)};
                });
}

struct AllToAll::Exchange {
  std::vector<int64_t> sent, received;
  Group group;
  Site site;
  Work work;

  // Starts to send x; the result holds its rows after wait().
  Tensor start(const Tensor& x, const std::vector<int64_t>& send_rows,
               const std::vector<int64_t>& recv_rows) {
    Shape shape = x.shape();
    shape[0] = 0;
    for (const int64_t rows : recv_rows) shape[0] += rows;
    const Tensor y = Tensor::empty(shape, x.dtype(), x.device());
    work = group.all_to_all(x, send_rows, y, recv_rows, site);
    return y;
  }
};

AllToAll::AllToAll(const Var& x, std::span<const int64_t> send_rows,
                   std::span<const int64_t> recv_rows, const Group& group, Site site) {
  if (group.size() == 1) {
    pending_ = x;
    return;
  }
  exchange_ = std::make_shared<Exchange>(Exchange{{send_rows.begin(), send_rows.end()},
                                                  {recv_rows.begin(), recv_rows.end()},
                                                  group,
                                                  site,
                                                  Work()});
  const Tensor y = exchange_->start(x.value(), exchange_->sent, exchange_->received);
  pending_ = record("all_to_all", {x}, y, [exchange = exchange_](const Tensor& dx) -> Grads {
    exchange->work.wait();  // started by the backward of finish()
    return {dx};
  });
}

Var AllToAll::finish() {
  if (!exchange_) return pending_;
  exchange_->work.wait();
  return record("all_to_all_finish", {pending_}, pending_.value(),
                [exchange = exchange_](const Tensor& dy) -> Grads {
                  return {exchange->start(dy, exchange->received, exchange->sent)};
                });
}

Var all_to_all(const Var& x, std::span<const int64_t> send_rows, std::span<const int64_t> recv_rows,
               const Group& group, Site site) {
  return AllToAll(x, send_rows, recv_rows, group, site).finish();
}

}  // namespace orthant
