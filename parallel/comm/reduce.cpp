// SPDX-License-Identifier: Apache-2.0
// Sums over ranks, composed of exchanges and tree_sum, so that every implementation gives the same
// bits.
#include <functional>
#include <numeric>

#include "base/context.h"
#include "base/error.h"
#include "parallel/comm/chain_work.h"
#include "parallel/comm/group.h"
#include "parallel/comm/group_call.h"

namespace orthant {
namespace {

using WorkPtr = std::shared_ptr<WorkImpl>;

// Up to here everybody sums everything: one exchange instead of two.  With 2 to 8 thread ranks on
// two cores that is the faster way to about 32 KiB.
constexpr int64_t kSmallBytes = 32 * 1024;

// `count` equal pieces of a flat tensor.
std::vector<Tensor> pieces_of(const Tensor& flat, int count) {
  const int64_t each = flat.numel() / count;
  std::vector<Tensor> pieces;
  for (int i = 0; i < count; ++i) pieces.push_back(flat.slice(i * each, (i + 1) * each));
  return pieces;
}

Tensor make_buffer(int64_t numel, const Tensor& like) {
  const CategoryScope scope(MemoryCategory::kCommunication);
  return Tensor::empty({numel}, like.dtype(), like.device());
}

Work start(GroupImpl& impl, const Call& call, WorkPtr first, std::function<WorkPtr()> next) {
  auto work =
      std::make_shared<ChainWork>(impl.shared_from_this(), call, std::move(first), std::move(next));
  if (!work->test()) impl.state().add(work);
  return Work(work);
}

// A phase of `call`: the same operation to peers, no line of its own in the ring.
Call phase_of(const Call& call, int64_t sequence) {
  Call phase = call;
  phase.sequence = sequence;
  phase.record = -1;
  return phase;
}

void check_summable(const char* op, const GroupImpl& impl, const Tensor& tensor, const Site& site) {
  ORTHANT_CHECK(is_floating(tensor.dtype()), kInternal, op, " on group ", impl.name(), " at ",
                text_of(site), ": want a floating tensor, got ", describe(tensor));
}

}  // namespace

Work Group::all_reduce(const Tensor& tensor, Site site) const {
  GroupImpl& impl = comm::checked(impl_);
  check_summable("all_reduce", impl, tensor, site);
  if (impl.size() == 1) return Work();
  const int n = impl.size();
  const int64_t numel = tensor.numel();
  const Call call = comm::make_call(impl, OpKind::kSum, "all_reduce", tensor, site);
  const Tensor flat = tensor.view({numel});
  if (tensor.bytes() <= kSmallBytes) {
    const Tensor parts = make_buffer(n * numel, tensor);
    const std::vector<int64_t> counts(static_cast<size_t>(n), numel);
    return start(impl, call, impl.all_gather(phase_of(call, call.sequence), flat, parts, counts),
                 [flat, parts, n]() -> WorkPtr {
                   tree_sum(pieces_of(parts, n), flat);
                   return nullptr;
                 });
  }
  std::vector<int64_t> slices;
  for (int r = 0; r < n; ++r) slices.push_back(numel / n + (r < numel % n ? 1 : 0));
  const int64_t own = slices[static_cast<size_t>(impl.rank())];
  const int64_t begin = std::accumulate(slices.begin(), slices.begin() + impl.rank(), int64_t{0});
  const Tensor own_part = flat.slice(begin, begin + own);
  const std::vector<int64_t> owns(static_cast<size_t>(n), own);
  const Tensor parts = make_buffer(n * own, tensor);
  // The second phase starts whenever this rank gets to it, so its number is taken now.
  const Call second = phase_of(call, impl.reserve_sequence(flat));
  return start(impl, call,
               impl.all_to_all(phase_of(call, call.sequence), flat, slices, parts, owns),
               [&impl, second, flat, own_part, parts, slices, n]() -> WorkPtr {
                 tree_sum(pieces_of(parts, n), own_part);
                 return impl.all_gather(second, own_part, flat, slices);
               });
}

Work Group::reduce_scatter(const Tensor& send, const Tensor& recv, std::span<const int64_t> rows,
                           Site site) const {
  GroupImpl& impl = comm::checked(impl_);
  check_summable("reduce_scatter", impl, send, site);
  comm::check_rows("reduce_scatter", impl, send, rows, site);
  comm::check_same_rows("reduce_scatter", impl, send, recv, site);
  const int n = impl.size();
  const int64_t own = rows[static_cast<size_t>(impl.rank())];
  ORTHANT_CHECK(recv.dim(0) == own, kInternal, "reduce_scatter on group ", impl.name(), " at ",
                text_of(site), ": want ", own, " rows to receive, got ", describe(recv));
  if (n == 1) {
    copy(send, recv);
    return Work();
  }
  const Call call = comm::make_call(impl, OpKind::kSum, "reduce_scatter", send, site);
  const int64_t width = send.dim(0) == 0 ? 0 : send.numel() / send.dim(0);
  std::vector<int64_t> slices;
  for (const int64_t count : rows) slices.push_back(count * width);
  const std::vector<int64_t> owns(static_cast<size_t>(n), own * width);
  const Tensor parts = make_buffer(n * own * width, send);
  return start(impl, call,
               impl.all_to_all(phase_of(call, call.sequence), send.view({send.numel()}), slices,
                               parts, owns),
               [recv, parts, n]() -> WorkPtr {
                 tree_sum(pieces_of(parts, n), recv.view({recv.numel()}));
                 return nullptr;
               });
}

}  // namespace orthant
