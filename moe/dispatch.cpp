// SPDX-License-Identifier: Apache-2.0
#include "moe/dispatch.h"

#include <algorithm>
#include <numeric>

namespace orthant {
Dispatch::Dispatch(const ExpertPlacement& placement, int64_t num_experts, const Tensor& ids)
    : placement_(placement),
      num_experts_(num_experts),
      experts_per_rank_(num_experts / placement.expert_parallel_size),
      plan_(plan_dispatch(ids, num_experts)) {
  offsets_ = plan_.offsets;
  token_of_ = plan_.token_of;
  sent_at_ = plan_.row_of;
  if (placement_.group.size() == 1) return;
  plan_exchange();
  if (placement_.tensor_parallel_size > 1) plan_copies();
}

std::vector<int64_t> Dispatch::sent_rows() const {
  std::vector<int64_t> rows(static_cast<size_t>(num_experts_));
  for (size_t e = 0; e < rows.size(); ++e) rows[e] = (*plan_.offsets)[e + 1] - (*plan_.offsets)[e];
  return rows;
}

// Tells every rank how many rows each of its experts gets.
void Dispatch::plan_exchange() {
  const int64_t size = placement_.group.size(), local = experts_per_rank_;
  const std::vector<int64_t> rows = sent_rows();
  std::vector<int64_t> out;
  for (int64_t peer = 0; peer < size; ++peer) {
    const auto first = rows.begin() + peer / placement_.tensor_parallel_size * local;
    out.insert(out.end(), first, first + local);
    send_rows_.push_back(std::accumulate(first, first + local, int64_t{0}));
  }
  const std::vector<int64_t> one_each(static_cast<size_t>(size), 1);
  const Tensor sent = Tensor::empty({size, local}, DType::kI64), got = Tensor::like(sent);
  std::copy(out.begin(), out.end(), sent.as<int64_t>());
  placement_.group.all_to_all(sent, one_each, got, one_each).wait();
  arrange({got.as<int64_t>(), got.as<int64_t>() + got.numel()});
}

// counts [P, local experts] of the rows that arrive, by source and expert.
void Dispatch::arrange(const std::vector<int64_t>& counts) {
  const int64_t size = placement_.group.size(), local = experts_per_rank_;
  const auto count = [&](int64_t source, int64_t expert) {
    return counts[static_cast<size_t>(source * local + expert)];
  };
  std::vector<int64_t> arrival(counts.size() + 1, 0);  // first row of each (source, expert)
  std::partial_sum(counts.begin(), counts.end(), arrival.begin() + 1);
  const int64_t total = arrival.back();
  std::vector<int32_t> arrival_of, place_of(static_cast<size_t>(total));
  arrival_of.reserve(static_cast<size_t>(total));
  auto offsets = std::make_shared<std::vector<int64_t>>(1, 0);
  for (int64_t expert = 0; expert < local; ++expert) {
    for (int64_t source = 0; source < size; ++source) {
      const int64_t first = arrival[static_cast<size_t>(source * local + expert)];
      for (int64_t row = first; row < first + count(source, expert); ++row) {
        place_of[static_cast<size_t>(row)] = static_cast<int32_t>(arrival_of.size());
        arrival_of.push_back(static_cast<int32_t>(row));
      }
    }
    offsets->push_back(static_cast<int64_t>(arrival_of.size()));
  }
  for (int64_t source = 0; source < size; ++source)
    recv_rows_.push_back(arrival[static_cast<size_t>((source + 1) * local)] -
                         arrival[static_cast<size_t>(source * local)]);
  offsets_ = std::move(offsets);
  const Device device = plan_.row_of.device();
  arrival_of_ = Tensor::from_i32({total}, arrival_of, device);
  place_of_ = Tensor::from_i32({total, 1}, place_of, device);
}

// With expert-tensor ranks a row goes to each of them: rows sent are ordered by (expert rank,
// tensor rank, expert, token, slot).
void Dispatch::plan_copies() {
  const int64_t parts = placement_.tensor_parallel_size, local = experts_per_rank_;
  const Device device = plan_.row_of.device();
  const Tensor host_token = plan_.token_of.to(Device{}), host_row = plan_.row_of.to(Device{});
  const int64_t rows = host_token.numel();
  std::vector<int32_t> token_of, original_of, copies_of(static_cast<size_t>(rows * parts));
  for (int64_t holder = 0; holder < placement_.expert_parallel_size; ++holder) {
    const int64_t begin = (*plan_.offsets)[static_cast<size_t>(holder * local)];
    const int64_t end = (*plan_.offsets)[static_cast<size_t>((holder + 1) * local)];
    for (int64_t part = 0; part < parts; ++part) {
      for (int64_t row = begin; row < end; ++row) {
        copies_of[static_cast<size_t>(row * parts + part)] = static_cast<int32_t>(token_of.size());
        token_of.push_back(host_token.as<int32_t>()[row]);
        original_of.push_back(static_cast<int32_t>(row));
      }
    }
  }
  std::vector<int32_t> sent_at;
  for (int64_t i = 0; i < host_row.numel(); ++i) {
    const int32_t row = host_row.as<int32_t>()[i];
    for (int64_t part = 0; part < parts; ++part)
      sent_at.push_back(row < 0 ? -1 : copies_of[static_cast<size_t>(row * parts + part)]);
  }
  token_of_ = Tensor::from_i32({rows * parts}, token_of, device);
  sent_at_ = Tensor::from_i32({host_row.dim(0), host_row.dim(1) * parts}, sent_at, device);
  copies_of_ = Tensor::from_i32({rows, parts}, copies_of, device);
  original_of_ = Tensor::from_i32({rows * parts}, original_of, device);
}

AllToAll Dispatch::send(const Var& x) const {
  const auto gather = [index = token_of_, row_of = sent_at_](const Var& v) {
    return gather_rows(v, index, row_of);
  };
  // What stays here is what the experts' products keep; what travels is dropped when it has left.
  const Var rows = placement_.group.size() == 1 ? remake(gather, x) : gather(x);
  return AllToAll(rows, send_rows_, recv_rows_, placement_.group);
}

Var Dispatch::receive(AllToAll& rows) const {
  const Var arrived = rows.finish();
  return arrival_of_.defined() ? gather_rows(arrived, arrival_of_, place_of_) : arrived;
}

Tensor Dispatch::expert_tokens(const Tensor& tokens) const {
  const Tensor own = tokens.to(Device{}), token_of = token_of_.to(Device{});
  const int64_t arrived = offsets_->back();
  const Tensor sent = Tensor::empty({token_of.numel(), 1}, DType::kI64);
  for (int64_t r = 0; r < token_of.numel(); ++r)
    sent.as<int64_t>()[r] = own.as<int64_t>()[token_of.as<int32_t>()[r]];
  Tensor got = sent;
  if (placement_.group.size() > 1) {
    got = Tensor::empty({arrived, 1}, DType::kI64);
    placement_.group.all_to_all(sent, send_rows_, got, recv_rows_).wait();
  }
  const Tensor order = arrival_of_.defined() ? arrival_of_.to(Device{}) : Tensor();
  const Tensor result = Tensor::empty({arrived}, DType::kI64);
  const int64_t first = placement_.shard(num_experts_).first;
  for (int64_t e = 0; e + 1 < std::ssize(*offsets_); ++e)
    for (int64_t r = (*offsets_)[static_cast<size_t>(e)];
         r < (*offsets_)[static_cast<size_t>(e) + 1]; ++r) {
      const int64_t at = order.defined() ? order.as<int32_t>()[r] : r;
      result.as<int64_t>()[r] = got.as<int64_t>()[at] * num_experts_ + first + e;
    }
  return result.to(tokens.device());
}

Var Dispatch::send_back(const Var& y) const {
  if (!arrival_of_.defined()) return y;
  const Var in_order = gather_rows(y, place_of_.flat(0, place_of_.numel()),
                                   arrival_of_.view({arrival_of_.numel(), 1}));
  const Var back = all_to_all(in_order, recv_rows_, send_rows_, placement_.group);
  return copies_of_.defined() ? sum_rows(back, copies_of_, original_of_) : back;
}

}  // namespace orthant
