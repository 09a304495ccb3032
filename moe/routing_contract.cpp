// SPDX-License-Identifier: Apache-2.0
// MoeLayer::check_routing: the experts that the losses count are those that dispatch sends tokens
// to.
#include "base/error.h"
#include "moe/moe_layer.h"

namespace orthant {
namespace {

// Token t chooses experts t, t + 1, ... (modulo their number): each expert gets as many tokens as a
// token has experts.
Tensor rotating_ids(int64_t experts, int64_t slots, Device device) {
  std::vector<int32_t> ids;
  for (int64_t t = 0; t < experts; ++t)
    for (int64_t a = 0; a < slots; ++a) ids.push_back(static_cast<int32_t>((t + a) % experts));
  return Tensor::from_i32({experts, slots}, ids, device);
}

}  // namespace

void MoeLayer::check_routing() const {
  const NoGradScope no_grad;
  const int64_t experts = sizes_.experts, slots = sizes_.experts_per_token;
  const Device device = router_.weight().device();
  const DType wide = router_.weight().dtype();
  const auto want = [&](bool holds, const auto&... text) {
    ORTHANT_CHECK(holds, kInternal, "routing contract of layer ", layer_, ": ", text...);
  };
  const std::vector<int32_t> ones(static_cast<size_t>(experts), 1);
  const Group self = Group::self();
  const MoeContext context{.rows = TokenRows(self, self, self, 1, experts)};
  RouterOptions options = router_options(context, device);
  options.replay = rotating_ids(experts, slots, device);
  const Routes routes = choose_experts(Tensor::zeros({experts, experts}, wide, device),
                                       Tensor::from_i32({experts}, ones, device), options);
  const std::vector<double> counted = routes.sums.counts.to_doubles();
  for (size_t e = 0; e < counted.size(); ++e)
    want(counted[e] == static_cast<double>(slots), "the losses count ", counted[e],
         " tokens of expert ", e, ", dispatch gets ", slots);

  // Every token carries its number to the experts.
  std::vector<double> numbers;
  for (int64_t t = 0; t < experts; ++t) numbers.push_back(static_cast<double>(t));
  const Dispatch dispatch(placement_, experts, routes.ids);
  AllToAll travelling = dispatch.send(Var(Tensor::from({experts, 1}, numbers, wide, device)));
  const std::vector<double> rows = dispatch.receive(travelling).value().to_doubles();
  const ExpertShard shard = placement_.shard(experts);
  for (int64_t i = 0; i < shard.count; ++i) {
    const int64_t expert = shard.first + i;
    const int64_t begin = (*dispatch.offsets())[static_cast<size_t>(i)];
    const int64_t end = (*dispatch.offsets())[static_cast<size_t>(i + 1)];
    want(end - begin == slots * placement_.group.size(), "expert ", expert, " gets ", end - begin,
         " rows of ", placement_.group.size(), " ranks, the losses count ",
         slots * placement_.group.size());
    for (int64_t row = begin; row < end; ++row) {
      const auto token = static_cast<int64_t>(rows[static_cast<size_t>(row)]);
      want((expert - token + experts) % experts < slots, "token ", token, " came to expert ",
           expert, ", which it has not chosen");
    }
    for (const GroupedLinear* linear : {&gate_up_, &down_})
      want(linear->holds(i, concat("experts.", expert, ".")), "row block ", i, " of ",
           linear->weight().name(), " is not the weight of expert ", expert);
  }
}

}  // namespace orthant
