// SPDX-License-Identifier: Apache-2.0
// Argument checks, groups of one, splitting, and small host values; sums of tensors are in
// reduce.cpp.
#include "parallel/comm/group.h"

#include <algorithm>
#include <numeric>

#include "base/context.h"
#include "base/error.h"
#include "parallel/comm/group_call.h"
#include "parallel/comm/group_impl.h"
#include "parallel/comm/self_group.h"

namespace orthant {

using comm::checked;
using comm::make_call;

namespace {

// Everybody's `mine`, one after the other.
Tensor gather_control(GroupImpl& impl, const char* op, const Tensor& mine,
                      std::span<const int64_t> rows, Site site) {
  if (impl.size() == 1) return mine;
  const Tensor all =
      Tensor::empty({std::accumulate(rows.begin(), rows.end(), int64_t{0})}, mine.dtype());
  const Call call = make_call(impl, OpKind::kControl, op, mine, site, {.rows = rows});
  Work(impl.all_gather(call, mine, all, rows)).wait();
  return all;
}

std::vector<int64_t> equal_rows(const GroupImpl& impl, int64_t rows) {
  return std::vector<int64_t>(static_cast<size_t>(impl.size()), rows);
}

Tensor one_i64(int64_t value) {
  const Tensor tensor = Tensor::empty({1}, DType::kI64);
  *tensor.as<int64_t>() = value;
  return tensor;
}

}  // namespace

void Work::wait() {
  if (!impl_) return;
  impl_->wait();
  impl_.reset();
}

bool Work::test() {
  if (!impl_) return true;
  if (!impl_->test()) impl_->group().state().poll();
  if (!impl_->test()) return false;
  impl_.reset();
  return true;
}

Group Group::self() { return Group(make_self_group(nullptr, context().rank, "self")); }

int Group::rank() const { return checked(impl_).rank(); }
int Group::size() const { return checked(impl_).size(); }
const std::string& Group::name() const { return checked(impl_).name(); }
const std::vector<int>& Group::world_ranks() const { return checked(impl_).world_ranks(); }

Group Group::split(int color, int key, const std::string& name, Site site) const {
  GroupImpl& impl = checked(impl_);
  struct Wish {
    int64_t color, key;
    int rank;
  };
  const Tensor mine = Tensor::empty({2}, DType::kI64);
  mine.as<int64_t>()[0] = color;
  mine.as<int64_t>()[1] = key;
  const Tensor all = gather_control(impl, "split", mine, equal_rows(impl, 2), site);
  std::vector<Wish> wishes;
  for (int r = 0; r < impl.size(); ++r) {
    const int64_t* row = all.as<int64_t>() + 2 * r;
    if (color >= 0 && row[0] == color) wishes.push_back({row[0], row[1], r});
  }
  std::stable_sort(wishes.begin(), wishes.end(),
                   [](const Wish& a, const Wish& b) { return a.key < b.key; });
  std::vector<int> members;
  for (const Wish& wish : wishes) members.push_back(wish.rank);
  const uint64_t child_key = impl.next_split_key(color);
  std::shared_ptr<GroupImpl> child = impl.split(color, members, name);
  if (child) child->set_key(child_key);
  return Group(std::move(child));
}

Work Group::all_to_all(const Tensor& send, std::span<const int64_t> send_rows, const Tensor& recv,
                       std::span<const int64_t> recv_rows, Site site) const {
  GroupImpl& impl = checked(impl_);
  comm::check_rows("all_to_all", impl, send, send_rows, site);
  comm::check_rows("all_to_all", impl, recv, recv_rows, site);
  comm::check_same_rows("all_to_all", impl, send, recv, site);
  if (impl.size() == 1) {
    copy(send, recv);
    return Work();
  }
  const Call call =
      make_call(impl, OpKind::kAllToAll, "all_to_all", send, site,
                {.width = comm::width_of(send), .send_rows = send_rows, .recv_rows = recv_rows});
  return Work(impl.all_to_all(call, send, send_rows, recv, recv_rows));
}

Work Group::all_gather(const Tensor& send, const Tensor& recv, std::span<const int64_t> recv_rows,
                       Site site) const {
  GroupImpl& impl = checked(impl_);
  comm::check_rows("all_gather", impl, recv, recv_rows, site);
  comm::check_same_rows("all_gather", impl, send, recv, site);
  const int64_t own = recv_rows[static_cast<size_t>(impl.rank())];
  ORTHANT_CHECK(send.dim(0) == own, kInternal, "all_gather on group ", impl.name(), " at ",
                text_of(site), ": want ", own, " rows to send, got ", describe(send));
  if (impl.size() == 1) {
    copy(send, recv);
    return Work();
  }
  const Call call = make_call(impl, OpKind::kAllGather, "all_gather", send, site,
                              {.width = comm::width_of(send), .rows = recv_rows});
  return Work(impl.all_gather(call, send, recv, recv_rows));
}

Work Group::all_gather(const Tensor& send, const Tensor& recv, Site site) const {
  const std::vector<int64_t> rows(static_cast<size_t>(size()), send.dim(0));
  return all_gather(send, recv, rows, site);
}

Work Group::broadcast(const Tensor& tensor, int root, Site site) const {
  GroupImpl& impl = checked(impl_);
  comm::check_peer("broadcast", impl, root, site);
  if (impl.size() == 1) return Work();
  const Call call = make_call(impl, OpKind::kBroadcast, "broadcast", tensor, site,
                              {.count = tensor.numel(), .root = root});
  return Work(impl.broadcast(call, tensor, root));
}

Work Group::send(const Tensor& tensor, int to, Site site, const std::string& message) const {
  GroupImpl& impl = checked(impl_);
  comm::check_peer("send", impl, to, site);
  ORTHANT_CHECK(to != impl.rank(), kInternal, "send on group ", impl.name(), " at ", text_of(site),
                ": to this rank itself");
  Call call = make_call(impl, OpKind::kSendRecv, "send", tensor, site);
  call.message = message;
  if (impl.state().check_collectives) comm::send_header(impl, call, tensor, to);
  return Work(impl.send(call, tensor, to));
}

Work Group::recv(const Tensor& tensor, int from, Site site, const std::string& message) const {
  GroupImpl& impl = checked(impl_);
  comm::check_peer("recv", impl, from, site);
  ORTHANT_CHECK(from != impl.rank(), kInternal, "recv on group ", impl.name(), " at ",
                text_of(site), ": from this rank itself");
  Call call = make_call(impl, OpKind::kSendRecv, "recv", tensor, site);
  call.message = message;
  if (impl.state().check_collectives) call.guard = comm::expect_header(impl, call, tensor, from);
  return Work(impl.recv(call, tensor, from));
}

void Group::barrier(Site site) const {
  GroupImpl& impl = checked(impl_);
  if (impl.size() == 1) return;
  Work(impl.barrier(make_call(impl, OpKind::kBarrier, "barrier", Tensor(), site))).wait();
}

std::vector<double> Group::sum(std::span<const double> values, Site site) const {
  GroupImpl& impl = checked(impl_);
  const auto n = static_cast<int64_t>(values.size());
  const Tensor mine = Tensor::empty({n}, DType::kF64);
  std::copy(values.begin(), values.end(), mine.as<double>());
  const Tensor all = gather_control(impl, "sum", mine, equal_rows(impl, n), site);
  std::vector<double> sums(values.size(), 0.0);
  for (int r = 0; r < impl.size(); ++r) {
    const double* row = all.as<double>() + r * n;
    for (size_t i = 0; i < sums.size(); ++i) sums[i] = r == 0 ? row[i] : sums[i] + row[i];
  }
  return sums;
}

double Group::sum(double value, Site site) const {
  return sum(std::span<const double>(&value, 1), site).front();
}

int64_t Group::max(int64_t value, Site site) const {
  GroupImpl& impl = checked(impl_);
  const Tensor all = gather_control(impl, "max", one_i64(value), equal_rows(impl, 1), site);
  const auto values = all.span<int64_t>();
  return *std::max_element(values.begin(), values.end());
}

std::vector<std::string> Group::gather_text(const std::string& text, Site site) const {
  GroupImpl& impl = checked(impl_);
  const auto size = static_cast<int64_t>(text.size());
  const Tensor sizes =
      gather_control(impl, "gather_text", one_i64(size), equal_rows(impl, 1), site);
  const Tensor mine = Tensor::empty({size}, DType::kU8);
  std::copy(text.begin(), text.end(), static_cast<char*>(mine.data()));
  const auto rows = sizes.span<int64_t>();
  const Tensor all = gather_control(impl, "gather_text", mine, rows, site);
  std::vector<std::string> texts;
  const char* at = static_cast<const char*>(all.data());
  for (const int64_t count : rows) {
    texts.emplace_back(at, static_cast<size_t>(count));
    at += count;
  }
  return texts;
}

void Group::progress() const { checked(impl_).state().poll(); }
void Group::abort(const std::string& reason) const { checked(impl_).state().abort(reason); }
double Group::deadline_seconds() const { return checked(impl_).state().deadline_seconds; }
void Group::set_deadline_seconds(double seconds) const {
  checked(impl_).state().deadline_seconds = seconds;
}
void Group::set_check_collectives(bool check) const {
  checked(impl_).state().check_collectives = check;
}
void Group::set_step(int64_t step) const { checked(impl_).state().step = step; }
std::string Group::ring_text(int last) const { return checked(impl_).state().ring_text(last); }

}  // namespace orthant
