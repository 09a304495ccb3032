// SPDX-License-Identifier: Apache-2.0
#include "parallel/comm/contract.h"

#include <cstring>
#include <string>
#include <vector>

#include "base/error.h"
#include "parallel/comm/status_page.h"

namespace orthant::comm {
namespace {

// One rank's view of a call, as it travels; a collective's rows follow it.
struct Record {
  char op[24] = "", group[32] = "", site[64] = "", message[64] = "";
  int64_t dtype = 0, width = -1, count = -1, root = -1, step = 0, bytes = 0;
};
static_assert(sizeof(Record) % sizeof(int64_t) == 0);

Record record_of(const GroupImpl& impl, const Call& call, const Terms& terms) {
  Record record{.dtype = static_cast<int64_t>(call.dtype),
                .width = terms.width,
                .count = terms.count,
                .root = terms.root,
                .step = impl.state().step,
                .bytes = call.bytes};
  set_text(record.op, sizeof(record.op), call.op);
  set_text(record.group, sizeof(record.group), impl.name());
  set_text(record.site, sizeof(record.site), text_of(call.site), /*keep_end=*/true);
  set_text(record.message, sizeof(record.message), call.message);
  return record;
}

// "rank 3 calls broadcast of 12 x 4 f32 from 1 at model/x.cpp:33 (step 17)".
std::string text_of(const GroupImpl& impl, int rank, const Record& record) {
  std::string what;
  if (record.count >= 0) what += concat(" of ", record.count, " elements");
  if (record.width >= 0) what += concat(" of rows of ", record.width);
  if (record.root >= 0) what += concat(" with root ", record.root);
  if (record.message[0] != '\0') what += concat(" (", record.message, ")");
  return concat("rank ", impl.world_rank(rank), " calls ", record.op, " on group ", record.group,
                what, " in ", name_of(static_cast<DType>(record.dtype)), " at ", record.site,
                " (step ", record.step, ")");
}

bool is_same(const char* a, const char* b) { return std::strcmp(a, b) == 0; }

// What differs, or "".
std::string difference(const Record& a, const Record& b) {
  if (!is_same(a.op, b.op)) return "the operation";
  if (!is_same(a.group, b.group)) return "the group";
  if (a.dtype != b.dtype) return "the dtype";
  if (a.width != b.width) return "the width of a row";
  if (a.count != b.count) return "the number of elements";
  if (a.root != b.root) return "the root";
  if (a.step != b.step) return "the step";
  if (!is_same(a.site, b.site)) return "the call site";
  return "";
}

// Everybody's records, one after the other: each a Record and 2 x size row counts.
class Records {
 public:
  Records(const GroupImpl& impl, Tensor all) : impl_(impl), all_(std::move(all)) {}
  static int64_t bytes_of_one(int size) {
    return static_cast<int64_t>(sizeof(Record)) + 2 * size * static_cast<int64_t>(sizeof(int64_t));
  }
  static Tensor pack(const GroupImpl& impl, const Call& call, const Terms& terms) {
    const Record record = record_of(impl, call, terms);
    const Tensor tensor = Tensor::zeros({bytes_of_one(impl.size())}, DType::kU8);
    char* to = static_cast<char*>(tensor.data());
    std::memcpy(to, &record, sizeof(record));
    to += sizeof(record);
    for (const auto rows : {terms.rows.empty() ? terms.send_rows : terms.rows, terms.recv_rows}) {
      if (!rows.empty()) std::memcpy(to, rows.data(), rows.size_bytes());
      to += static_cast<size_t>(impl.size()) * sizeof(int64_t);
    }
    return tensor;
  }

  // Throws the first mismatch in an order that is the same on all ranks.
  void check(const Call& call, const Terms& terms) const {
    for (int r = 1; r < impl_.size(); ++r) {
      const std::string what = difference(record(0), record(r));
      if (!what.empty()) fail(call, 0, r, what);
    }
    // Now all are in the same operation, so all look at the same rows.
    for (int a = 0; a < impl_.size(); ++a) {
      for (int b = 0; b < impl_.size(); ++b) {
        if (!terms.rows.empty() && rows(0, 0, b) != rows(a, 0, b)) {
          fail(call, 0, a,
               concat("the rows of rank ", impl_.world_rank(b), " (", rows(0, 0, b), " and ",
                      rows(a, 0, b), ")"));
        }
        if (!terms.recv_rows.empty() && rows(a, 0, b) != rows(b, 1, a)) {
          fail(call, a, b,
               concat("the rows that rank ", impl_.world_rank(a), " sends (", rows(a, 0, b),
                      ") and rank ", impl_.world_rank(b), " expects of it (", rows(b, 1, a), ")"));
        }
      }
    }
  }

 private:
  const char* at(int rank) const {
    return static_cast<const char*>(all_.data()) + rank * bytes_of_one(impl_.size());
  }
  Record record(int rank) const {
    Record record;
    std::memcpy(&record, at(rank), sizeof(record));
    return record;
  }
  // which: 0 what it sends (or all know), 1 what it receives.
  int64_t rows(int rank, int which, int peer) const {
    int64_t count = 0;
    std::memcpy(&count,
                at(rank) + sizeof(Record) +
                    static_cast<size_t>(which * impl_.size() + peer) * sizeof(count),
                sizeof(count));
    return count;
  }
  [[noreturn]] void fail(const Call& call, int a, int b, const std::string& what) const {
    throw_error(
        ErrorKind::kComm,
        concat("ranks of group ", impl_.name(), " disagree on collective ", call.place, " about ",
               what, ": ", text_of(impl_, a, record(a)), ", ", text_of(impl_, b, record(b)),
               "; every rank must make the same calls in the same order"),
        call.site);
  }

  // Why a rank makes other calls than the others, when it is leaving.
  std::string failure_of(int rank) const {
    const auto world_rank = static_cast<size_t>(impl_.world_rank(rank));
    const auto& pages = impl_.state().pages;
    if (world_rank >= pages.size() || !pages[world_rank]) return "";
    const RankStatus status = pages[world_rank]->read();
    if (status.phase != RankPhase::kFailed) return "";
    return concat("; rank ", world_rank, " failed: ", status.reason);
  }

  const GroupImpl& impl_;
  Tensor all_;
};

Tensor pack_header(const Record& record) {
  const Tensor tensor = Tensor::empty({static_cast<int64_t>(sizeof(Record))}, DType::kU8);
  std::memcpy(tensor.data(), &record, sizeof(record));
  return tensor;
}

Call header_call(const Call& call) {
  Call header = call;
  header.record = -1;
  header.dtype = DType::kU8;
  return header;
}

class HeaderCheck : public WorkImpl {
 public:
  HeaderCheck(std::shared_ptr<GroupImpl> group, const Call& call, std::shared_ptr<WorkImpl> arrival,
              Tensor header, const Record& mine, int from)
      : WorkImpl(std::move(group), header_call(call), {}),
        arrival_(std::move(arrival)),
        header_(std::move(header)),
        mine_(mine),
        from_(from) {}
  std::vector<int> missing() const override { return arrival_->missing(); }

 protected:
  bool advance() override {
    if (!arrival_->test()) return false;
    Record theirs;
    std::memcpy(&theirs, header_.data(), sizeof(theirs));
    std::string what;
    if (!is_same(theirs.group, mine_.group)) what = "the group";
    if (theirs.step != mine_.step) what = "the step";
    if (!is_same(theirs.message, mine_.message)) what = "which one it is: one was lost, or is late";
    if (theirs.dtype != mine_.dtype) what = "the dtype";
    if (theirs.bytes != mine_.bytes) {
      what = concat("the size: wants ", mine_.bytes, " bytes of ",
                    name_of(static_cast<DType>(mine_.dtype)), ", sends ", theirs.bytes,
                    " bytes of ", name_of(static_cast<DType>(theirs.dtype)));
    }
    if (what.empty()) return true;
    throw_error(
        ErrorKind::kComm,
        concat("ranks of group ", group_->name(), " disagree on a message about ", what, ": ",
               text_of(*group_, group_->rank(), mine_), ", ", text_of(*group_, from_, theirs)),
        call_.site);
  }

 private:
  std::shared_ptr<WorkImpl> arrival_;
  Tensor header_;
  Record mine_;
  int from_;
};

}  // namespace

int64_t width_of(const Tensor& tensor) {
  int64_t width = 1;
  for (int i = 1; i < tensor.rank(); ++i) width *= tensor.dim(i);
  return width;
}

void agree(GroupImpl& impl, const Call& call, const Terms& terms) {
  if (!impl.state().check_collectives) return;
  Call exchange = call;
  exchange.kind = OpKind::kAgree;
  exchange.record = -1;
  exchange.sequence = impl.next_sequence();
  const int64_t bytes = Records::bytes_of_one(impl.size());
  const std::vector<int64_t> each(static_cast<size_t>(impl.size()), bytes);
  const Tensor mine = Records::pack(impl, call, terms);
  const Tensor all = Tensor::empty({bytes * impl.size()}, DType::kU8);
  impl.all_gather(exchange, mine, all, each)->wait();
  Records(impl, all).check(call, terms);
}

void send_header(GroupImpl& impl, const Call& call, const Tensor& tensor, int to) {
  const Record record = record_of(impl, call, {.count = tensor.numel()});
  impl.send(header_call(call), pack_header(record), to);
}

std::shared_ptr<WorkImpl> expect_header(GroupImpl& impl, const Call& call, const Tensor& tensor,
                                        int from) {
  const Tensor header = pack_header({});
  std::shared_ptr<WorkImpl> arrival = impl.recv(header_call(call), header, from);
  return std::make_shared<HeaderCheck>(impl.shared_from_this(), call, std::move(arrival), header,
                                       record_of(impl, call, {.count = tensor.numel()}), from);
}

}  // namespace orthant::comm
