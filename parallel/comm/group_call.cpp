// SPDX-License-Identifier: Apache-2.0
#include "parallel/comm/group_call.h"

#include <algorithm>
#include <numeric>

#include "base/error.h"

namespace orthant::comm {
namespace {

std::string where(const char* op, const GroupImpl& impl, const Site& site) {
  return concat(op, " on group ", impl.name(), " at ", text_of(site), ": ");
}

}  // namespace

GroupImpl& checked(const std::shared_ptr<GroupImpl>& impl) {
  ORTHANT_CHECK(impl != nullptr, kInternal,
                "an undefined group was used: this rank is in none of the groups of that split");
  return *impl;
}

Call make_call(GroupImpl& impl, OpKind kind, const char* op, const Tensor& tensor, const Site& site,
               const Terms& terms) {
  Call call{.kind = kind, .op = op, .site = site};
  if (tensor.defined()) {
    call.bytes = tensor.bytes();
    call.dtype = tensor.dtype();
  }
  if (kind == OpKind::kSendRecv) {
    call.record = impl.state().begin(impl, call);
    return call;
  }
  call.place = impl.next_place();
  call.record = impl.state().begin(impl, call);
  agree(impl, call, terms);
  call.sequence = impl.next_sequence();
  return call;
}

void check_rows(const char* op, const GroupImpl& impl, const Tensor& tensor,
                std::span<const int64_t> rows, const Site& site) {
  ORTHANT_CHECK(tensor.rank() >= 1, kInternal, where(op, impl, site), "want rows, got ",
                describe(tensor));
  ORTHANT_CHECK(rows.size() == static_cast<size_t>(impl.size()), kInternal, where(op, impl, site),
                "want ", impl.size(), " row counts, got ", rows.size());
  ORTHANT_CHECK(std::all_of(rows.begin(), rows.end(), [](int64_t n) { return n >= 0; }), kInternal,
                where(op, impl, site), "a negative row count");
  const int64_t sum = std::accumulate(rows.begin(), rows.end(), int64_t{0});
  ORTHANT_CHECK(sum == tensor.dim(0), kInternal, where(op, impl, site), "row counts add up to ",
                sum, ", got ", describe(tensor));
}

void check_same_rows(const char* op, const GroupImpl& impl, const Tensor& a, const Tensor& b,
                     const Site& site) {
  bool same = a.rank() == b.rank() && a.rank() >= 1 && a.dtype() == b.dtype();
  for (int i = 1; same && i < a.rank(); ++i) same = a.dim(i) == b.dim(i);
  ORTHANT_CHECK(same, kInternal, where(op, impl, site), "want equal rows on both sides, got ",
                describe(a), " and ", describe(b));
}

void check_peer(const char* op, const GroupImpl& impl, int peer, const Site& site) {
  ORTHANT_CHECK(peer >= 0 && peer < impl.size(), kInternal, where(op, impl, site),
                "want a rank below ", impl.size(), ", got ", peer);
}

}  // namespace orthant::comm
